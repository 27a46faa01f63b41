"""A committed checkpoint copied to any fsspec URL, its marker last: there too it is whole or it does not count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec

from megatron_snow.checkpoint.integrity import COMMITTED, DamagedCheckpoint, verify
from megatron_snow.common.checksums import bytes_digest, new_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import MANIFEST

_BLOCK = 8 << 20  # bytes: above the least part of S3's uploads


def open_url(url: str) -> tuple[Any, str]:
    """(fsspec's file system, the path in it) of a URL; UserError where its kind is not known or its package is not installed."""
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UserError(f"{url}: cannot be opened: {' '.join(str(error).split())}") from error
    return system, path.rstrip("/")


def copy_checkpoint(folder: Path, url: str) -> bool:
    """Copy the checkpoint in `folder` to url/step-N; False where that very checkpoint is there already.

    A copy that was broken off has no marker and is written again; another checkpoint of the same step is replaced. Each file's
    digest is taken of the bytes that are sent. DamagedCheckpoint where it is not the saved one; OSError, or what the file system
    raises, where the copy fails: no marker is there then.
    """
    manifest = verify(folder, weights=False)
    system, root = open_url(url)
    target = f"{root}/{folder.name}"
    marker = (folder / COMMITTED).read_bytes()
    if system.exists(f"{target}/{COMMITTED}"):
        if system.cat_file(f"{target}/{COMMITTED}") == marker:
            return False
        system.rm_file(f"{target}/{COMMITTED}")
    for name, entry in manifest["files"].items():
        _copy_file(folder / name, system, f"{target}/{name}", entry)
    _copy_file(folder / MANIFEST, system, f"{target}/{MANIFEST}", _entry_of(folder / MANIFEST))
    system.pipe_file(f"{target}/{COMMITTED}", marker)
    return True


def _entry_of(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"digest": bytes_digest(content), "bytes": len(content)}


def _copy_file(path: Path, system: Any, target: str, entry: dict[str, Any]) -> None:
    digest = new_digest()
    system.makedirs(target.rpartition("/")[0], exist_ok=True)
    with open(path, "rb") as source, system.open(target, "wb") as sink:
        while block := source.read(_BLOCK):
            digest.update(block)
            sink.write(block)
    if digest.hexdigest() != entry["digest"]:
        raise DamagedCheckpoint(f"{path}: its digest differs from the one in {MANIFEST}; bytes were changed, the copy was given up")
    if (size := system.info(target)["size"]) != entry["bytes"]:
        raise OSError(f"{target}: {size} bytes arrived, {entry['bytes']} were sent")
