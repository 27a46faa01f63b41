"""The entries of an archive of any kind, told by its first bytes: tar (plain, gzip, bzip2, xz, zstd), zip, Debian's .deb.

Nothing is unpacked to disk, and memory is bounded by one file: compressed data is a stream that may expand
to so much and no more, xz may ask for so much dictionary, a zip member is read up to the size it declares.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from calendar import timegm
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from megatron_snow.corpus.sources.tar import Damaged, Entry, Stream, entries_of_tar

# Source code expands 3 to 10 times; what expands more than this is made to fill memory or time, and is refused.
_EXPANDS = 100
_EXPANDS_ALWAYS = 256_000_000  # bytes, also of a small archive
_XZ_MEMORY = 256_000_000  # bytes; xz -9 asks for 65 MB
_CHUNK = 1 << 18

_AR = b"!<arch>\n"
_AR_HEADER = 60


def entries_of(path: str) -> Iterator[Entry]:
    """The members of an archive, in order, each to be read before the next; Damaged where it cannot be read on."""
    with open(path, "rb") as file:
        size = Path(path).stat().st_size
        bound = _EXPANDS_ALWAYS + _EXPANDS * size
        magic = file.read(8)
        file.seek(0)
        if magic.startswith(b"PK"):
            yield from _of_zip(file, bound)
        elif magic == _AR:
            yield from _of_deb(file, bound)
        elif magic:
            yield from entries_of_tar(Stream(_expanded(file, magic).read, bound))


def _expanded(file: Any, magic: bytes) -> Any:
    """The decompressed stream of a file, by its first bytes; the file itself where they are of no compression."""
    if magic.startswith(b"\x1f\x8b"):
        return io.BufferedReader(gzip.GzipFile(fileobj=file), _CHUNK)
    if magic.startswith(b"BZh"):
        return io.BufferedReader(_Expanding(file, bz2.BZ2Decompressor), _CHUNK)
    if magic.startswith(b"\xfd7zXZ\0"):
        return io.BufferedReader(_Expanding(file, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)), _CHUNK)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd"), _CHUNK)
    return file


class _Expanding(io.RawIOBase):
    """The streams of a bzip2 or xz file one after the other; the library's own reader of xz knows no memory limit."""

    def __init__(self, file: IO[bytes], new: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]) -> None:
        self._file, self._new, self._current = file, new, new()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data:
            if self._current.eof:
                rest = (self._current.unused_data or self._file.read(_CHUNK)).lstrip(b"\0")  # xz pads with zeros
                if not rest:
                    return 0
                self._current = self._new()
            else:
                rest = self._file.read(_CHUNK) if self._current.needs_input else b""
                if not rest and self._current.needs_input:
                    raise Damaged("its compressed data is cut off")
            data = self._current.decompress(rest, len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _of_zip(file: IO[bytes], bound: int) -> Iterator[Entry]:
    taken = 0

    def read(info: zipfile.ZipInfo) -> bytes:
        nonlocal taken
        taken += info.file_size
        if taken > bound:
            raise Damaged(f"it expands to more than {bound:,} bytes, as no source code does")
        with archive.open(info) as member:
            data = member.read(info.file_size)
        if len(data) < info.file_size:
            raise Damaged(f"{info.filename} is shorter than it declares")
        return data

    with zipfile.ZipFile(file) as archive:
        comment = archive.comment.decode("utf-8", "replace") if len(archive.comment) == 40 else ""  # git writes the commit
        for info in archive.infolist():
            link = (info.external_attr >> 28) == 0xA  # S_IFLNK, where a Unix wrote it
            kind = "folder" if info.is_dir() else "other" if link else "file"
            yield Entry(info.filename, info.file_size, kind, partial(read, info), _seconds(info), comment)


def _seconds(info: zipfile.ZipInfo) -> int:
    """Since 1970; 0 where the date is none, as of month 0."""
    try:
        return timegm((*info.date_time, 0, 0, 0))
    except ValueError:
        return 0


def _of_deb(file: IO[bytes], bound: int) -> Iterator[Entry]:
    """The control files as DEBIAN/NAME, then the package's files."""
    file.seek(len(_AR))
    while header := file.read(_AR_HEADER):
        name, digits = header[:16].rstrip(b" /"), header[48:58].strip()
        if len(header) < _AR_HEADER or header[58:] != b"`\n" or not digits.isdigit():
            raise Damaged("it holds what is no ar header")
        start, size = file.tell(), int(digits)
        if name.startswith((b"control.tar", b"data.tar")):
            slice_ = io.BufferedReader(_Slice(file, size), _CHUNK)
            entries = entries_of_tar(Stream(_expanded(slice_, slice_.peek(8)[:8]).read, bound))
            yield from entries if name.startswith(b"data") else _renamed(entries)
        file.seek(start + size + size % 2)


def _renamed(entries: Iterator[Entry]) -> Iterator[Entry]:
    for entry in entries:
        yield entry._replace(name=f"DEBIAN/{entry.name}")


class _Slice(io.RawIOBase):
    """The next `size` bytes of a file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._left))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def damage_named() -> Iterator[None]:
    """Turn what the libraries raise for a damaged archive into Damaged."""
    try:
        yield
    except (zipfile.BadZipFile, EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, pa.ArrowException) as error:
        raise Damaged(str(error) or type(error).__name__) from error
    except (NotImplementedError, RuntimeError, ValueError, struct.error) as error:  # zip: an unknown compression, a password, odd fields
        raise Damaged(str(error)) from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # the disk, not the data
            raise
        raise Damaged(str(error)) from error  # of bz2, or a zip's offset before the file's beginning
