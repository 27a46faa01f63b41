"""Where repositories come from. `list_parts` says what there is, `read_part` reads it; one module a kind.

A new kind is a function that lists parts (and, for a new container, one that reads them) and its
line in the tables below.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from functools import cache

from megatron_snow.config import Source
from megatron_snow.corpus.sources.archives import list_archives, name_of_archive, read_archive
from megatron_snow.corpus.sources.files import list_folder, read_files
from megatron_snow.corpus.sources.installed import list_debian, list_python
from megatron_snow.corpus.sources.parts import PART_BYTES, Limits, Member, Part, RawFile, Reader
from megatron_snow.corpus.sources.tables import list_tables, read_jsonl, read_parquet

_LISTERS: dict[str, Callable[[Source, Collection[str]], Iterator[Part]]] = {
    "folder": list_folder,
    "archive": list_archives,
    "jsonl": list_tables,
    "parquet": list_tables,
    "python": list_python,
    "debian": list_debian,
}
_READERS: dict[str, Reader] = {"files": read_files, "archive": read_archive, "jsonl": read_jsonl, "parquet": read_parquet}

# The version in an archive's file name: "-1.2.tar.gz", "@v1.0-beta.zip", "_1.0-2_all.deb", "-1.0-py3-none-any.whl".
_VERSION = re.compile(r"(?:(?:_|%3[aA])\d.*_[a-z0-9]+|[-@]v?\d+(?:(?:\.[\w+~]+)+(?:-[\w.+~-]*)?)?)$")


def list_parts(sources: Iterable[Source], languages: Collection[str] = ()) -> Iterator[Part]:
    """The parts of all sources, in their order; a file or a container that two sources list is listed once.

    Files of prose (Markdown, Text) are listed where `languages`, those that are wanted, name it.

    Two roots with one repository name are two repositories: the second is called NAME#2, so that grouping does not
    take their files for those of one. Roots are folders and archives.
    """
    seen: set[str] = set()
    names = _Names()
    for source in sources:
        for part in _LISTERS[source.kind](source, frozenset(languages)):
            kept = _not_in(seen, part)
            if kept is not None:
                yield names.told_apart(kept)


def read_part(part: Part, limits: Limits) -> Iterator[RawFile]:
    """The files of a part, in a fixed order."""
    return _READERS[part.kind](part, limits)


class _Names:
    """Which roots have which names. An archive is opened for its name only where another's file name is the same but for a version."""

    def __init__(self) -> None:
        self._alike: dict[str, dict[str, tuple[Part, int]]] = {}  # name without version -> root -> its first part and number

    def told_apart(self, part: Part) -> Part:
        """The part, with a suffix where its repository is the second or a later one of its name."""
        if part.kind not in ("files", "archive") or part.named:
            return part
        alike = self._alike.setdefault(_VERSION.sub("", part.repository), {})
        root = part.root if part.kind == "files" else os.path.realpath(part.path)
        if root not in alike:
            same = [other for other, _ in alike.values() if _full_name(other) == _full_name(part)]
            alike[root] = part, len(same) + 1
            if len(same) == 1:
                _note(_full_name(part), same[0].root or same[0].path, root)
        number = alike[root][1]
        return replace(part, suffix=f"#{number}") if number > 1 else part


def _full_name(part: Part) -> str:
    return (name_of_archive(part.path) if part.kind == "archive" else "") or part.repository


@cache
def _note(name: str, first: str, second: str) -> None:
    where = f"{first or 'installed'} and {second or 'installed'}"
    print(f"note: two repositories are called {name} ({where}): the second is collected as {name}#2, and so on", file=sys.stderr)


def _not_in(seen: set[str], part: Part) -> Part | None:
    """The part without files that were seen; None where nothing is left."""
    if part.kind != "files":
        place = f"{os.path.realpath(part.path)}#{part.piece}"
        known = place in seen
        seen.add(place)
        return None if known else part
    members = []
    for member in part.members:
        try:
            status = os.lstat(member.location)
        except OSError:  # removed since it was listed
            continue
        place = f"{status.st_dev}:{status.st_ino}"
        if place not in seen:
            seen.add(place)
            members.append(member)
    size = sum(member.size for member in members)
    return replace(part, members=tuple(members), size=size) if members else None


__all__ = ["PART_BYTES", "Limits", "Member", "Part", "RawFile", "list_parts", "read_part"]
