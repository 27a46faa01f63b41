"""What a source lists, and what reading gives: parts in, raw files out.

A part is what is read in one go: some files of one repository, or one container (an archive, a
JSONL file, row groups of a Parquet file). Listing opens as little as it can, so that the order can
be drawn and full languages be skipped before anything is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from megatron_snow.common.checksums import text_digest

# 8 MB of files: some seconds of work, small enough to balance over workers.
PART_BYTES = 8_000_000

Kind = Literal["files", "archive", "jsonl", "parquet"]


class Member(NamedTuple):
    """One file of a checkout or a package."""

    path: str  # in its repository, with forward slashes
    location: str  # on this machine
    size: int
    modified: int  # nanoseconds; a changed file gets another key


@dataclass(frozen=True)
class Part:
    """A unit of reading. `repository` orders it; a container of many repositories has its own name there."""

    kind: Kind
    repository: str
    licence: str
    size: int  # bytes on disk
    members: tuple[Member, ...] = ()  # kind files
    path: str = ""  # containers
    modified: int = 0
    row_groups: tuple[int, ...] = ()  # kind parquet

    def to_json(self) -> dict[str, Any]:
        """A dict for a listing file."""
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> Part:
        """The inverse of `to_json`."""
        members = tuple(Member(*member) for member in value["members"])
        return Part(**{**value, "members": members, "row_groups": tuple(value["row_groups"])})


@dataclass(frozen=True)
class RawFile:
    """A file as a source gives it. `dropped` names the rule where it was not read."""

    repository: str
    path: str
    licence: str
    provenance: str
    data: bytes | str = b""
    language: str = ""  # where the source says it
    dropped: str = ""
    size: int = 0  # bytes, also of what was not read


@dataclass(frozen=True)
class Limits:
    """What need not be read."""

    max_file_bytes: int
    full_languages: frozenset[str] = frozenset()


Reader = Callable[[Part, Limits], Iterator[RawFile]]


def parts_of_files(repository: str, licence: str, members: list[Member]) -> Iterator[Part]:
    """Cut a repository's files into parts of about PART_BYTES.

    Their order is a digest's, as good as random: where a limit cuts a repository, what stays is a sample of all its folders.
    """
    chosen: list[Member] = []
    size = 0
    for member in sorted(members, key=lambda member: text_digest(member.path)):
        if chosen and size + member.size > PART_BYTES:
            yield Part("files", repository, licence, size, tuple(chosen))
            chosen, size = [], 0
        chosen.append(member)
        size += member.size
    if chosen:
        yield Part("files", repository, licence, size, tuple(chosen))


def part_of_container(kind: Kind, path: Path, repository: str = "", licence: str = "") -> Part:
    """A whole container as one part."""
    status = path.stat()
    return Part(kind, repository or path.name, licence, status.st_size, path=str(path), modified=status.st_mtime_ns)
