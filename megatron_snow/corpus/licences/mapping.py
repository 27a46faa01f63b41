"""Which licence holds for which file of a repository: its header, the nearest licence file above it, what the package declares."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from megatron_snow.corpus.language import languages_by_name
from megatron_snow.corpus.licences.debian import Stanza, Stanzas, from_debian_copyright, stanzas_of
from megatron_snow.corpus.licences.expressions import all_of
from megatron_snow.corpus.licences.headers import HEAD_BYTES, from_header
from megatron_snow.corpus.licences.texts import from_text

UNKNOWN = "LicenseRef-unknown"  # there is a licence file, of words that no known licence has
_POINTER = 100  # words; an unknown licence file that is shorter says where the others lie

_NAME = re.compile(r"(?:un|mit-|bsd-|apache-|gpl-|lgpl-|agpl-)?licen[sc]e|copying|copyright", re.IGNORECASE)
_INSTALLED_COPYRIGHT = re.compile(r"(?:^|/)usr/share/doc/[^/]+/copyright$")
_TERMS = re.compile(r"-(?:only|or-later)\b|\+")


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
    stanzas: tuple[Stanza, ...] = ()  # of a Debian copyright file, the last first

    def licence_of(self, path: str, head: str) -> str:
        """The licence of a file, given its first HEAD_BYTES: header > nearest licence file > declared > ""."""
        return from_header(head[:HEAD_BYTES]) or self.licence_above(path)

    def licence_above(self, path: str) -> str:
        """What holds for a path whatever its text: a stanza that names it > the nearest folder's files > `Files: *` > the package's.

        What a package declares stands before the licence files of its root where it speaks of the same licences: texts do not
        say whether later versions may be taken, nor whether two of them are a choice.
        """
        stanza = self._compiled.first_covering(path) if self.stanzas else None
        if stanza and not stanza.everything:
            return stanza.licence
        folder = posixpath.dirname(path.lstrip("/"))  # "/" is its own parent
        while folder:
            if folder in self.folders:
                return self.folders[folder]
            folder = posixpath.dirname(folder)
        if stanza:
            return stanza.licence
        root = self.folders.get("", "")
        return self.declared if _speaks_of(self.declared, root) else root or self.declared

    @cached_property
    def _compiled(self) -> Stanzas:
        return Stanzas(self.stanzas)


def licence_map(files: Mapping[str, str], declared: str = "") -> LicenceMap:
    """The map of a repository, from its licence files (path -> text) and what its package declares (an SPDX expression)."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    stanzas: list[Stanza] = []
    for path in sorted(files):
        folder, base = posixpath.split(path)
        installed = bool(_INSTALLED_COPYRIGHT.search(path))
        if base == "copyright" and (known := stanzas_of(files[path], anchored=not installed)):
            stanzas += known
        else:
            licence = from_debian_copyright(files[path]) if base == "copyright" else from_text(files[path])
            found["" if installed or folder == "debian" else folder][licence or UNKNOWN] = files[path]
    folders = {folder: _joined(texts) for folder, texts in found.items()}
    return LicenceMap(folders, declared, tuple(reversed(stanzas)))


def _joined(texts: Mapping[str, str]) -> str:
    """The licences of one folder's files: all of them hold. The GPL is part of the LGPL, and a short unknown text a pointer."""
    names: Sequence[str] = list(texts)
    if len(names) > 1 and len(texts.get(UNKNOWN, "").split()) < _POINTER:
        names = [name for name in names if name != UNKNOWN]
    lesser = any(name.startswith("LGPL") for name in names)
    return all_of(name for name in names if not (lesser and name.startswith("GPL")))


def _speaks_of(declared: str, root: str) -> bool:
    return bool(declared) and _symbols(root) <= _symbols(declared)


def _symbols(expression: str) -> set[str]:
    return set(re.sub(r"[()]|\b(?:AND|OR|WITH)\b", " ", _TERMS.sub("", expression)).split()) - {UNKNOWN}
