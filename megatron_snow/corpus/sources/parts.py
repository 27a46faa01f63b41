"""What a source lists, and what reading gives: parts in, raw files out.

A part is what is read in one go: some files of one repository, or a container or a piece of one (an
archive, bytes of a JSONL file, row groups of a Parquet file). Listing opens as little as it can, so
that the order can be drawn and full languages be skipped before anything is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from glob import glob
from pathlib import Path
from typing import Any, Literal, NamedTuple

from megatron_snow.common.checksums import text_digest
from megatron_snow.common.errors import UserError
from megatron_snow.config import Source
from megatron_snow.corpus.licences import LicenceMap

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
    licence: str  # what the package declares; licence files and headers are looked at too
    size: int  # bytes on disk
    members: tuple[Member, ...] = ()  # kind files
    path: str = ""  # containers
    modified: int = 0
    piece: tuple[int, ...] = ()  # parquet: row groups; jsonl: [start, end) in bytes
    revision: str = ""  # commit, or version of a package
    date: str = ""  # of the revision, ISO 8601
    licence_files: tuple[Member, ...] = ()  # kind files: those of the whole repository
    root: str = ""  # kind files: where the repository lies; another root is another repository
    named: bool = False  # the user gave the repository's name, whatever metadata says
    suffix: str = ""  # of the repository's name where two roots have the same

    @property
    def name(self) -> str:
        """The repository's name, told apart from others of the same."""
        return self.repository + self.suffix

    def to_json(self) -> dict[str, Any]:
        """A dict for a listing file."""
        return dict(vars(self))

    @staticmethod
    def from_json(value: dict[str, Any]) -> Part:
        """The inverse of `to_json`."""
        members = tuple(Member(*member) for member in value["members"])
        licence_files = tuple(Member(*member) for member in value["licence_files"])
        return Part(**{**value, "members": members, "licence_files": licence_files, "piece": tuple(value["piece"])})


NO_LICENCES = LicenceMap()


class RawFile(NamedTuple):
    """A file as a source gives it. `dropped` names the rule where it was not read."""

    repository: str
    path: str
    provenance: str
    data: bytes | str = b""
    licences: LicenceMap = NO_LICENCES  # of its repository
    licence_kind: str = ""  # where the source says it
    language: str = ""  # where the source says it
    dropped: str = ""
    size: int = 0  # bytes, also of what was not read
    revision: str = ""
    date: str = ""
    stars: int | None = None
    forks: int | None = None
    swhid: str = ""  # where the source says it


@dataclass(frozen=True)
class Limits:
    """What need not be read."""

    max_file_bytes: int
    full_languages: frozenset[str] = frozenset()
    languages: frozenset[str] = frozenset()  # that are wanted, where some are named: prose is read by name alone


Reader = Callable[[Part, Limits], Iterator[RawFile]]


def files_named_by(source: Source) -> list[Path]:
    """The files that a source's path or glob names, in order, folders and pipes left out; UserError where there is none."""
    files = [Path(name) for name in sorted(glob(source.path, recursive=True)) if os.path.isfile(name)]
    if not files:
        raise UserError(f"corpus.sources: {source.kind} {source.path}: no such file; of a folder's files give a glob: '{source.path}/*'")
    return files


def parts_of_files(whole: Part) -> Iterator[Part]:
    """Cut a repository's files into parts of about PART_BYTES.

    Their order is a digest's, as good as random: where a limit cuts a repository, what stays is a sample of all its folders.
    """
    chosen: list[Member] = []
    size = 0
    for member in sorted(whole.members, key=lambda member: text_digest(member.path)):
        if chosen and size + member.size > PART_BYTES:
            yield _with_members(whole, size, chosen)
            chosen, size = [], 0
        chosen.append(member)
        size += member.size
    if chosen:
        yield _with_members(whole, size, chosen)


def _with_members(whole: Part, size: int, members: list[Member]) -> Part:
    return replace(whole, size=size, members=tuple(members))


def part_of_container(kind: Kind, path: Path, repository: str = "", **facts: Any) -> Part:
    """A whole container as one part."""
    status = path.stat()
    return Part(kind, repository or path.name, "", status.st_size, path=str(path), modified=status.st_mtime_ns, **facts)
