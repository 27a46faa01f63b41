"""Small archives as tar, dpkg-deb and others write them, and what a source reads of them."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa

from megatron_snow.config import Source
from megatron_snow.corpus.sources import Limits, RawFile, list_parts, read_part

LIMITS = Limits(max_file_bytes=100_000)


def files_of(path: Path | str, limits: Limits = LIMITS) -> list[RawFile]:
    return [raw for part in list_parts([Source("archive", str(path))]) for raw in read_part(part, limits)]


def tar_bytes(members: Mapping[str, bytes], extra: tuple[tarfile.TarInfo, ...] = (), mtime: int = 0) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime
            tar.addfile(info, io.BytesIO(data))
        for info in extra:
            tar.addfile(info)
    return buffer.getvalue()


def tar_of(path: Path, members: Mapping[str, bytes], extra: tuple[tarfile.TarInfo, ...] = (), mtime: int = 0) -> Path:
    path.write_bytes(gzip.compress(tar_bytes(members, extra, mtime)))
    return path


def zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


def deb_of(path: Path, control: bytes, data: bytes, ending: str = "gz", pack: Callable[[bytes], bytes] = gzip.compress) -> Path:
    """As dpkg-deb writes it: an ar archive of debian-binary, control.tar and data.tar."""
    parts = {"debian-binary": b"2.0\n", f"control.tar.{ending}": pack(tar_bytes({"./control": control})), f"data.tar.{ending}": pack(data)}
    out = b"!<arch>\n"
    for name, content in parts.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content + b"\n" * (len(content) % 2)
    path.write_bytes(out)
    return path
