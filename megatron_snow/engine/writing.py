"""Files of a torch_dist checkpoint written by the process itself: no other process that could outlive it, no collective, so that any
thread can do it while training goes on.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import torch
from megatron.core.dist_checkpointing.core import CheckpointingConfig, save_config
from torch.distributed.checkpoint.filesystem import CURRENT_DCP_VERSION, _StorageInfo
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorProperties, TensorStorageMetadata

from megatron_snow.common.checksums import new_digest
from megatron_snow.engine.common_state import COMMON_FILE, CommonState
from megatron_snow.engine.pieces import Pieces
from megatron_snow.engine.storage import METADATA_FILE


@dataclass
class Written:
    """What one rank wrote: its file, and where in it lies what."""

    name: str
    digest: str = ""  # of the bytes that were sent
    bytes: int = 0
    tensors: dict[str, TensorStorageMetadata] = field(default_factory=dict)
    places: dict[MetadataIndex, _StorageInfo] = field(default_factory=dict)


def write_part(folder: Path, rank: int, tensors: Iterable[tuple[str, Pieces]]) -> Written:
    """Write the pieces to a file of this rank, one after the other, and force it to the disk. OSError where that fails.

    Beside them one piece at a time is in memory. A name comes once.
    """
    written = Written(f"__{rank}_0.distcp")
    with open(folder / written.name, "wb") as file:
        stream = _Stream(file)
        for name, pieces in tensors:
            properties = TensorProperties(dtype=pieces.dtype)
            written.tensors[name] = TensorStorageMetadata(properties, pieces.size, pieces.chunks)
            for offsets, tensor in pieces.tensors.items():
                start = stream.bytes
                stream.save(tensor)
                written.places[MetadataIndex(name, torch.Size(offsets))] = _StorageInfo(written.name, start, stream.bytes - start)
        file.flush()
        os.fsync(file.fileno())
    written.digest, written.bytes = stream.digest.hexdigest(), stream.bytes
    return written


def write_index(folder: Path, parts: Sequence[Written], common: CommonState) -> None:
    """Write what lies beside the tensors; the parts together must be whole tensors, each element once."""
    tensors: dict[str, TensorStorageMetadata] = {}
    for part in parts:
        for name, entry in part.tensors.items():
            known = tensors.setdefault(name, TensorStorageMetadata(entry.properties, entry.size, []))
            known.chunks.extend(entry.chunks)
    for name, entry in tensors.items():
        elements = sum(chunk.sizes.numel() for chunk in entry.chunks)
        assert elements == entry.size.numel(), f"{name}: {elements} elements written of {entry.size.numel()}"
    places = {index: place for part in parts for index, place in part.places.items()}
    metadata = Metadata(dict(tensors), storage_data=places, version=CURRENT_DCP_VERSION)
    (folder / METADATA_FILE).write_bytes(pickle.dumps(metadata))
    torch.save(common.as_dict(), folder / COMMON_FILE)
    save_config(CheckpointingConfig("torch_dist", 1), str(folder))


class _Stream:
    """A file that digests what goes by. torch.save says of a failed write that it failed, and loses why: it is kept here."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.bytes, self.digest = file, 0, new_digest()
        self._failure: OSError | None = None

    def save(self, tensor: torch.Tensor) -> None:
        """One tensor as torch.save writes it; a view without the rest of its storage."""
        tensor = tensor.detach().cpu()
        if tensor.untyped_storage().nbytes() != tensor.numel() * tensor.element_size():
            tensor = tensor.clone()
        try:
            torch.save(tensor, self)  # type: ignore[arg-type]
        except RuntimeError as error:
            raise self._failure or error from error

    def write(self, data: bytes) -> int:
        """Called by torch.save."""
        try:
            self._file.write(data)
        except OSError as error:
            self._failure = error
            raise
        self.digest.update(data)
        self.bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Called by torch.save."""
