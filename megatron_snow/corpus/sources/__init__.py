"""Where repositories come from. `list_parts` says what there is, `read_part` reads it; one module a kind.

A new kind is a function that lists parts (and, for a new container, one that reads them) and its
line in the tables below.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from megatron_snow.config import Source
from megatron_snow.corpus.sources.archives import list_archives, read_archive
from megatron_snow.corpus.sources.files import list_folder, read_files
from megatron_snow.corpus.sources.installed import list_debian, list_python
from megatron_snow.corpus.sources.parts import PART_BYTES, Limits, Member, Part, RawFile, Reader
from megatron_snow.corpus.sources.tables import list_tables, read_jsonl, read_parquet

_LISTERS: dict[str, Callable[[Source], Iterator[Part]]] = {
    "folder": list_folder,
    "archive": list_archives,
    "jsonl": list_tables,
    "parquet": list_tables,
    "python": list_python,
    "debian": list_debian,
}
_READERS: dict[str, Reader] = {"files": read_files, "archive": read_archive, "jsonl": read_jsonl, "parquet": read_parquet}


def list_parts(sources: Iterable[Source]) -> Iterator[Part]:
    """The parts of all sources, in their order; a file or a container that two sources list is listed once."""
    seen: set[str] = set()
    for source in sources:
        for part in _LISTERS[source.kind](source):
            kept = _not_in(seen, part)
            if kept is not None:
                yield kept


def read_part(part: Part, limits: Limits) -> Iterator[RawFile]:
    """The files of a part, in a fixed order."""
    return _READERS[part.kind](part, limits)


def _not_in(seen: set[str], part: Part) -> Part | None:
    """The part without files that were seen; None where nothing is left."""
    if part.kind != "files":
        place = f"{os.path.realpath(part.path)}#{part.row_groups}"
        known = place in seen
        seen.add(place)
        return None if known else part
    members = []
    for member in part.members:
        status = os.stat(member.location)
        place = f"{status.st_dev}:{status.st_ino}"
        if place not in seen:
            seen.add(place)
            members.append(member)
    size = sum(member.size for member in members)
    return replace(part, members=tuple(members), size=size) if members else None


__all__ = ["PART_BYTES", "Limits", "Member", "Part", "RawFile", "list_parts", "read_part"]
