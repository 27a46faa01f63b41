"""Archives as repositories: tar, zip, wheels, .deb, npm and source distributions, read without unpacking to disk.

Nothing is ever written from an archive, so a member called ../x or /x can do no harm; it is dropped and
counted all the same, as are links and devices. An archive is read once: its files are held back until its
metadata and licence files have been seen, up to HELD_BYTES, half of them compressed; a larger one is surveyed first.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache

import pyarrow as pa

from megatron_snow.common.errors import UserError
from megatron_snow.config import Source
from megatron_snow.corpus.licences import is_licence_file, licence_map
from megatron_snow.corpus.sources.containers import damage_named, entries_of
from megatron_snow.corpus.sources.files import LICENCE_BYTES, is_text, may_be_source, readable
from megatron_snow.corpus.sources.packages import Package, is_metadata, package_of
from megatron_snow.corpus.sources.parts import Limits, Part, RawFile, files_named_by, part_of_container
from megatron_snow.corpus.sources.tar import Damaged, Entry

_ENDINGS = (
    ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".zip", ".whl", ".deb", ".crate",
)  # fmt: skip
HELD_BYTES = 100_000_000  # most packages whole
_HELD_CODEC = pa.Codec("lz4_raw")
_HELD_EACH = 1000  # bytes of an entry beside its data
_EARLIEST, _LATEST = 631_152_000, 253_402_300_799  # 1990 to 9999, in seconds
# What build tools write in place of a date, so that a build can be repeated.
_NO_DATES = frozenset((
    1_153_704_088,  # Cargo and maturin, 2006-07-24
    1_451_606_400,  # flit's wheels, 2016-01-01
    1_580_601_600,  # hatchling, 2020-02-02
    1_667_997_441,  # scikit-build-core, 2022-11-09
))  # fmt: skip
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def list_archives(source: Source, languages: Collection[str] = ()) -> Iterator[Part]:
    """The archives that a path or a glob names; each is one repository, called by its metadata, else by its file name."""
    for path in files_named_by(source):
        if not path.name.endswith(_ENDINGS):
            raise UserError(f"corpus.sources: archive {path}: not one of {' '.join(_ENDINGS)}")
        yield part_of_container("archive", path, source.repository or stem_of(path.name), named=bool(source.repository))


def stem_of(name: str) -> str:
    """A file name without the ending of an archive."""
    return name.removesuffix(max((ending for ending in _ENDINGS if name.endswith(ending)), key=len, default=""))


def read_archive(part: Part, limits: Limits) -> Iterator[RawFile]:
    """The files of one archive that may be source, its common top folder cut off."""
    try:
        with damage_named():
            yield from _read(part, limits)
    except Damaged as error:
        raise UserError(f"{part.path}: damaged archive ({error}); fetch it again or take it out of corpus.sources") from error


@lru_cache(1024)
def name_of_archive(path: str) -> str:
    """The name by the archive's metadata, which is read as far as the first that says it; "" where none does."""
    survey = _Survey(path)
    try:
        with damage_named():
            for entry in entries_of(path):
                if entry.kind == "file" and survey.wants(entry):
                    survey.see(entry, entry.read())
                if survey.package.name:
                    break
    except Damaged:  # said when it is read
        return ""
    return survey.package.name


@dataclass
class _Survey:
    """What the whole of an archive says of each of its files."""

    archive: str
    package: Package = field(default_factory=Package)
    licences: dict[str, str] = field(default_factory=dict)  # licence file -> text
    room: int = HELD_BYTES  # for licence files
    latest: int = 0  # of the dates of its entries
    tops: set[str] = field(default_factory=set)  # the first folders, with their slash; "" where a file lies at the top

    def wants(self, entry: Entry) -> bool:
        """Whether the bytes of an entry say something."""
        return (
            entry.size <= LICENCE_BYTES and (is_metadata(self.archive, entry.name) or is_licence_file(entry.name)) and is_text(entry.name)
        )

    def see(self, entry: Entry, data: bytes) -> None:
        """Take in an entry; `data` where it is wanted."""
        if not entry.name.startswith("DEBIAN/"):
            first, slash, _ = entry.name.partition("/")
            self.tops.add(first + slash if slash else "")
        self.latest = max(self.latest, entry.modified if _date(entry.modified) else 0)
        if _COMMIT.fullmatch(entry.comment):
            self.package = self.package.or_else(Package(revision=entry.comment))
        if data and is_metadata(self.archive, entry.name):
            self.package = self.package.or_else(replace(package_of(entry.name, data), date=_date(entry.modified)))
        if data and self.room > 0 and is_licence_file(entry.name):
            self.licences[entry.name] = data.decode("utf-8", "replace")
            self.room -= len(data)

    def finish(self, part: Part, raw: RawFile) -> RawFile:
        """The file with what is now known."""
        name = part.repository if part.named else self.package.name or part.repository
        path = raw.path.removeprefix(self.top)
        package = self.package
        return raw._replace(repository=name + part.suffix, path=path, licences=self.map, revision=package.revision, date=package.date)

    def close(self) -> None:
        """No more entries: the licences by folder, and the top folder that all files share."""
        shared = len(self.tops) == 1 and not self.archive.endswith(".deb")
        self.top = next(iter(self.tops)) if shared else ""
        self.package = self.package.or_else(Package(date=_date(self.latest)))
        self.map = licence_map({name.removeprefix(self.top): text for name, text in self.licences.items()}, self.package.declared)


def _read(part: Part, limits: Limits) -> Iterator[RawFile]:
    survey = _Survey(part.path)
    entries = entries_of(part.path)
    held: list[tuple[RawFile, int]] = []
    room = HELD_BYTES
    for entry in entries:
        raw = _raw(part, entry, limits, survey)
        if raw:
            held.append(_packed(raw) if raw.data and room < HELD_BYTES // 2 else (raw, 0))
            room -= _HELD_EACH + len(held[-1][0].data)
        if room < 0:
            survey = _survey(part.path)
            break
    survey.close()
    for raw, size in held:
        yield survey.finish(part, _unpacked(raw, size))
    held.clear()
    for entry in entries:
        if raw := _raw(part, entry, limits):
            yield survey.finish(part, raw)


def _packed(raw: RawFile) -> tuple[RawFile, int]:
    """A file with its bytes compressed, and how many they were: LZ4 takes 4 seconds a GB both ways, reading an xz archive again 10."""
    return raw._replace(data=_HELD_CODEC.compress(raw.data, asbytes=True)), len(raw.data)


def _unpacked(raw: RawFile, size: int) -> RawFile:
    """The file again; of 0 bytes it is as it was."""
    return raw._replace(data=_HELD_CODEC.decompress(raw.data, size, asbytes=True)) if size else raw


def _survey(path: str) -> _Survey:
    survey = _Survey(path)
    for entry in entries_of(path):
        if entry.kind != "folder":
            survey.see(entry, entry.read() if entry.kind == "file" and survey.wants(entry) else b"")
    return survey


def _raw(part: Part, entry: Entry, limits: Limits, survey: _Survey | None = None) -> RawFile | None:
    """An entry that may be source, read; None for what is not. `survey` sees every entry."""
    if entry.kind == "folder":
        return None
    source = may_be_source(entry.name, limits.languages) and ".dist-info/" not in entry.name and not entry.name.startswith("DEBIAN/")
    dropped = _reason_to_drop(entry, limits)
    wanted = bool(survey and entry.kind == "file" and survey.wants(entry))
    data = entry.read() if (source and not dropped) or wanted else b""
    if survey:
        survey.see(entry, data if wanted else b"")
    if not source:
        return None
    name = readable(entry.name)
    return RawFile(part.repository, name, f"{readable(part.path)}!{name}", b"" if dropped else data, dropped=dropped, size=entry.size)


def _reason_to_drop(entry: Entry, limits: Limits) -> str:
    if entry.kind != "file":
        return "link_or_device"
    if entry.name.startswith("/") or "\\" in entry.name or "/../" in f"/{entry.name}/":
        return "unsafe_path"
    if not is_text(entry.name):
        return "name_encoding"
    return "too_large" if entry.size > limits.max_file_bytes else ""


def _date(seconds: int) -> str:
    """ISO 8601; "" for no date: one of _NO_DATES, or one before 1990, where npm (1985) and zip (1980) have theirs."""
    known = _EARLIEST <= seconds <= _LATEST and seconds not in _NO_DATES
    return datetime.fromtimestamp(seconds, UTC).isoformat() if known else ""
