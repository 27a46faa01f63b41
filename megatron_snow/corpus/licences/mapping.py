"""Which licence holds for which file of a repository: its header, the nearest licence file above it, what the package declares."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from megatron_snow.corpus.language import languages_by_name
from megatron_snow.corpus.licences.debian import from_debian_copyright
from megatron_snow.corpus.licences.headers import HEAD_BYTES, from_header
from megatron_snow.corpus.licences.texts import from_text

UNKNOWN = "LicenseRef-unknown"  # there is a licence file, of words that no known licence has

_NAME = re.compile(r"(?:un|mit-|bsd-|apache-|gpl-|lgpl-)?licen[sc]e|copying|copyright", re.IGNORECASE)


def is_licence_file(path: str) -> bool:
    """Whether a path is called as licence files are: LICENSE, LICENCE.md, LICENSE-MIT, COPYING.LESSER, debian/copyright."""
    base = posixpath.basename(path)
    match = _NAME.match(base)
    if not match or base[match.end() : match.end() + 1] not in ("", "-", ".", "_"):
        return False
    return base.lower().endswith((".html", ".htm")) or not languages_by_name(base)  # license.py is code


@dataclass(frozen=True)
class LicenceMap:
    """The licences of a repository's files. `folders` holds what the licence files of a folder say ("" is the root)."""

    folders: Mapping[str, str] = field(default_factory=dict)
    declared: str = ""

    def licence_of(self, path: str, head: str) -> str:
        """The licence of a file, given its first HEAD_BYTES: header > nearest licence file > declared > ""."""
        return from_header(head[:HEAD_BYTES]) or self.licence_above(path)

    def licence_above(self, path: str) -> str:
        """What the licence files in the folders above a path say, else what is declared."""
        folder = posixpath.dirname(path)
        while folder:
            if folder in self.folders:
                return self.folders[folder]
            folder = posixpath.dirname(folder)
        return self.folders.get("") or self.declared


def licence_map(files: Mapping[str, str], declared: str = "") -> LicenceMap:
    """The map of a repository, from its licence files (path -> text) and what its package declares (an SPDX expression)."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(files):
        folder, base = posixpath.split(path)
        copyright = base == "copyright"
        licence = from_debian_copyright(files[path]) if copyright else from_text(files[path])
        found["" if copyright and folder in ("debian",) else folder].append(licence or UNKNOWN)
    return LicenceMap({folder: " AND ".join(dict.fromkeys(names)) for folder, names in found.items()}, declared)
