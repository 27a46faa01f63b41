"""Computed indices on disk: built once, by whoever comes first, and mapped by all.

A file, little-endian: 64 bytes of header (`_HEADER`); int64[samples + 1] first row of each sample, where
the samples are packed; uint32 or uint64[rows, 2]; the digest of all before it (`content_digest`). It appears by
rename, so that a process killed while it builds leaves nothing that is read, and two that build the same
(on hosts between which no lock holds) do no harm.
"""

from __future__ import annotations

import logging
import mmap
import os
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.checksums import bytes_digest
from megatron_snow.common.digests import digests_of
from megatron_snow.common.errors import UserError
from megatron_snow.common.explain import before_running
from megatron_snow.common.files import PARTIAL, beside
from megatron_snow.common.locks import FolderLock

_log = logging.getLogger(__name__)

VERSION = 1  # of the format and of the order: raise it when the same data should give other samples
SUFFIX = ".samples"
FOLDER = "index"  # beside the datasets
_MAGIC = b"MSNOWSI\0"
_HEADER = struct.Struct("<8sIHHQQQ24x")  # magic, version, bytes of a row, 1 if packed, samples, rows, tokens
_DIGEST = 16  # bytes
_PIECE = 1 << 16  # bytes; eight at a time
_PATIENCE = 600.0  # seconds that a process waits for another's index before it builds its own
_POLL = 0.05


@dataclass(frozen=True)
class Made:
    """An index as it is built: `chunks` are its arrays in parts, in the order of the file."""

    tokens: int
    samples: int
    rows: int
    row_bytes: int
    packed: bool  # else a row a sample
    chunks: Iterable[np.ndarray]


@dataclass(frozen=True)
class Index:
    """An index as it is read, a view of its file."""

    path: Path
    tokens: int
    rows: np.ndarray  # uint32 or uint64[rows, 2]
    firsts: np.ndarray | None  # int64[samples + 1], where the samples are packed
    built: bool  # by this call


def default_folders(prefix: Path, cache: Path | None) -> list[Path]:
    """Where the indices of a dataset are looked for and, in the first that can be written, put."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    temporary = Path(tempfile.gettempdir(), f"megatron_snow-{os.getuid()}")
    return [cache or prefix.parent / FOLDER, caches / "megatron_snow" / FOLDER, temporary / FOLDER]


def open_index(folders: Sequence[Path], name: str, make: Callable[[], Made]) -> Index:
    """The whole index of that name in the first of the folders that has it; else built in the first that can be written."""
    for folder in folders:
        if (found := _load(folder / name)) is not None:
            return found
    before_running("prepare_index", folders[0] / name, "there is no index for this data, order and packing")
    for folder, following in zip(folders, [*folders[1:], None]):
        try:
            return _build_once(folder / name, make)
        except OSError as error:
            if following is None:
                raise
            _log.warning("index: %s cannot be written (%s); using %s", folder, error.strerror or error, following)
    raise AssertionError("no folder")


def _build_once(path: Path, make: Callable[[], Made]) -> Index:
    """Build it, or wait while another process does."""
    lock, given_up = FolderLock(path.parent, path.name, leave=False), time.monotonic() + _PATIENCE
    while True:
        try:
            lock.acquire()
            break
        except UserError:  # another builds it
            if (found := _load(path)) is not None:
                return found
            if time.monotonic() > given_up:
                _log.warning("index: %s is not there after %.0f s; building another", path, _PATIENCE)
                break
            time.sleep(_POLL)
    try:
        return _load(path) or _build(path, make())
    finally:
        lock.release()


def _build(path: Path, made: Made) -> Index:
    _remove_left(path)
    temporary = beside(path, f".{socket.gethostname()}.{os.getpid()}{PARTIAL}")
    try:
        with open(temporary, "w+b") as file:
            file.write(_HEADER.pack(_MAGIC, VERSION, made.row_bytes, made.packed, made.samples, made.rows, made.tokens))
            for chunk in made.chunks:
                file.write(np.ascontiguousarray(chunk).data)
            file.flush()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                digest = content_digest(np.frombuffer(content, np.uint8))
            file.write(digest)
        os.replace(temporary, path)  # no fsync: what a crash of the machine damages is seen and built again
    finally:
        temporary.unlink(missing_ok=True)
    found = _load(path, built=True)
    assert found is not None, path
    return found


def _remove_left(path: Path) -> None:
    """Remove what a kill left half-written; what another host may still write is young."""
    for left in path.parent.glob(f"{path.name}.*{PARTIAL}"):
        if time.time() - left.stat().st_mtime > _PATIENCE:
            left.unlink(missing_ok=True)


def _load(path: Path, built: bool = False) -> Index | None:
    """The index in a file, None where there is none or it is damaged (then with a warning)."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), np.uint8) if size else np.zeros(0, np.uint8)
    except OSError:  # not there, or not for us
        return None
    index = _parse(path, content, built)
    if index is None:
        _log.warning("index: %s is damaged or of another version; building it again", path)
    return index


def _parse(path: Path, content: np.ndarray, built: bool) -> Index | None:
    if len(content) < _HEADER.size + _DIGEST:
        return None
    if not built and content[-_DIGEST:].tobytes() != content_digest(content[:-_DIGEST]):
        return None
    magic, version, row_bytes, packed, samples, rows, tokens = _HEADER.unpack(content[: _HEADER.size].tobytes())
    firsts_bytes = 8 * (samples + 1) if packed else 0
    size = _HEADER.size + firsts_bytes + row_bytes * rows + _DIGEST
    if magic != _MAGIC or version != VERSION or row_bytes not in (8, 16) or size != len(content) or not (packed or rows == samples):
        return None
    firsts = content[_HEADER.size : _HEADER.size + firsts_bytes].view("<i8") if packed else None
    numbers = content[_HEADER.size + firsts_bytes : -_DIGEST].view(f"<u{row_bytes // 2}").reshape(-1, 2)
    return Index(path, tokens, numbers, firsts, built)


def content_digest(content: NDArray[np.uint8]) -> bytes:
    """BLAKE2b-128 over those of its pieces: 16 bytes, 2.3 GB/s a core."""
    offsets = np.append(np.arange(0, len(content), _PIECE, dtype=np.int64), len(content))
    return bytes.fromhex(bytes_digest(digests_of(content, offsets).tobytes()))
