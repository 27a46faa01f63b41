"""The manifest of a checkpoint: the digest and size of every file, sealed by the COMMITTED marker.

COMMITTED holds the digest of manifest.json, which holds the digests of all other files: a change of
any byte anywhere is found. This guards against disks, kills and bad copies, not against a forger.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any

from megatron_snow.common.checksums import file_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.files import atomic_file, fsync
from megatron_snow.common.progress import progress_bar
from megatron_snow.common.records import MANIFEST, read_json, write_json

COMMITTED = "COMMITTED"
_SHOWN_BYTES = 1_000_000_000  # about a second of reading; from here on a bar shows the verification


class DamagedCheckpoint(UserError):
    """A checkpoint that is not what was saved; the message names the file and what is wrong with it."""


def write_manifest(folder: Path, known: Mapping[str, tuple[str, int]] | None = None, **facts: Any) -> None:
    """Force all files below `folder` to the disk and record their digests, together with `facts`.

    known: path in the folder -> digest and size of the bytes that were written there, which need not be read again.
    """
    files = {}
    paths = sorted(folder.rglob("*"))
    for path in paths:
        fsync(path)
        if path.is_file():
            name, size = path.relative_to(folder).as_posix(), path.stat().st_size
            digest, written = known[name] if known and name in known else (file_digest(path), size)
            if size != written:
                raise OSError(errno.EIO, f"{size} bytes, {written} were written", str(path))
            files[name] = {"digest": digest, "bytes": size}
    write_json(folder / MANIFEST, {**facts, "files": files})


def seal(folder: Path) -> None:
    """Write the COMMITTED marker: from here on the checkpoint counts."""
    with atomic_file(folder / COMMITTED) as file:
        file.write(file_digest(folder / MANIFEST) + "\n")


def unseal(folder: Path) -> None:
    """Take the marker of a damaged checkpoint away, durably: from here on it does not count, and its files can still be looked at."""
    (folder / COMMITTED).rename(folder / f"{COMMITTED}.damaged")
    fsync(folder)


def is_committed(folder: Path) -> bool:
    """Whether the save came to its end. Says nothing about later damage; `verify` does."""
    return (folder / COMMITTED).is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The sealed manifest; DamagedCheckpoint where it or the marker was changed, or names files that are not its own."""
    manifest, marker = folder / MANIFEST, folder / COMMITTED
    if not marker.is_file():
        raise DamagedCheckpoint(f"{folder}: not committed; the save did not come to its end, or its {COMMITTED} was deleted")
    if not manifest.is_file():
        raise DamagedCheckpoint(f"{manifest}: missing")
    if _read(marker).strip() != _digest(manifest).encode():
        raise DamagedCheckpoint(f"{manifest}: its digest is not the one in {COMMITTED}; one of the two was changed")
    content: dict[str, Any] = read_json(manifest)
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not all(_is_entry(entry) for entry in files.values()):
        raise DamagedCheckpoint(f"{manifest}: sealed, but no manifest of a checkpoint")
    for name in files:
        _check_inside(folder, name)
    return content


def verify(folder: Path, *, weights: bool = True) -> dict[str, Any]:
    """Check the files against the manifest and return it; DamagedCheckpoint names the first bad file.

    `weights=False` leaves out the digests of files in sub-folders (model/), which takes no time at any size.
    """
    manifest = read_manifest(folder)
    files: dict[str, dict[str, Any]] = manifest["files"]
    for name, entry in files.items():  # sizes first: a missing shard is found before gigabytes are read
        _check_size(folder / name, entry["bytes"])
    read = {name: entry for name, entry in files.items() if weights or "/" not in name}
    total = sum(entry["bytes"] for entry in read.values())
    with progress_bar(total, label=f"verify {folder.name}", unit="B") if total > _SHOWN_BYTES else nullcontext() as bar:
        for name, entry in read.items():
            if _digest(folder / name) != entry["digest"]:
                raise DamagedCheckpoint(f"{folder / name}: its digest differs from the one in {MANIFEST}; bytes were changed")
            if bar is not None:
                bar.update(entry["bytes"])
    return manifest


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("digest"), str) and isinstance(entry.get("bytes"), int)


def _check_inside(folder: Path, name: str) -> None:
    pure = PurePosixPath(name)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or not (folder / pure).resolve().is_relative_to(folder.resolve()):
        raise DamagedCheckpoint(f"{folder / MANIFEST}: the file name {name!r} leads out of the checkpoint")


def _check_size(path: Path, size: int) -> None:
    if not path.is_file():
        raise DamagedCheckpoint(f"{path}: missing")
    if path.stat().st_size != size:
        raise DamagedCheckpoint(f"{path}: {path.stat().st_size} bytes, {size} were saved")


def _digest(path: Path) -> str:
    with _readable(path):
        return file_digest(path)


def _read(path: Path) -> bytes:
    with _readable(path):
        return path.read_bytes()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """A bad sector is damage as a flipped bit is: the file is named, and whoever can falls back."""
    try:
        yield
    except OSError as error:
        raise DamagedCheckpoint(f"{path}: cannot be read: {error.strerror or error}") from error
