"""One save of all ranks: begun and finished by all together, written by each alone, in whatever thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from megatron_snow.engine.common_state import CommonState
from megatron_snow.engine.pieces import Pieces
from megatron_snow.engine.writing import Written, write_index, write_part


class Save:
    """`write` needs nobody and may run in a thread while training goes on, if `tensors` are a copy; then `finish`, by all ranks.

    `folder` must be there for all ranks.
    """

    def __init__(self, folder: Path, tensors: dict[str, Pieces], common: CommonState) -> None:
        self._folder, self._tensors, self._common = folder, tensors, common
        self._written: Written | None = None
        self._failure: Exception | None = None

    def write(self) -> None:
        """Write this rank's part. What goes wrong is told by `finish`, on all ranks."""
        try:
            self._written = write_part(self._folder, dist.get_rank(), self._tensors.items())
        except Exception as error:
            self._failure = error
        self._tensors = {}

    def finish(self) -> dict[str, tuple[str, int]]:
        """Write the index; the digest and size of each rank's file by name, on the main rank.

        OSError on all ranks where one could not write (a full disk); RuntimeError for any other failure of a rank.
        """
        main = dist.get_rank() == 0
        gathered: list[Any] | None = [None] * dist.get_world_size() if main else None
        dist.gather_object((self._written, _portable(self._failure)), gathered)
        failure = next((failure for _, failure in gathered or () if failure), None)
        files = {}
        if gathered is not None and failure is None:
            parts = [part for part, _ in gathered]
            files = {part.name: (part.digest, part.bytes) for part in parts}
            try:
                write_index(self._folder, parts, self._common)
            except Exception as error:
                failure = _portable(error)
        box = [failure]
        dist.broadcast_object_list(box)
        if box[0] is not None:
            raise box[0] from self._failure
        return files


def _portable(failure: Exception | None) -> Exception | None:
    """A failure that another rank can be sent."""
    if failure is None or type(failure) is OSError:
        return failure
    if isinstance(failure, OSError) and failure.errno:
        return OSError(failure.errno, failure.strerror, failure.filename)
    return RuntimeError(f"rank {dist.get_rank()}: {type(failure).__name__}: {failure}")


class Snapshots:
    """Copies in CPU memory of what a rank writes. The memory is kept from save to save: asking for it anew costs more than the copy."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def take(self, tensors: dict[str, Pieces]) -> dict[str, Pieces]:
        """The same pieces, copied; valid until the next call. Pinned where they come from a GPU, whose copies then run side by side."""
        copies = {}
        for name, pieces in tensors.items():
            kept = {offsets: self._copy((name, offsets), tensor) for offsets, tensor in pieces.tensors.items()}
            copies[name] = Pieces(pieces.size, pieces.dtype, kept)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return copies

    def _copy(self, key: tuple[str, tuple[int, ...]], tensor: Tensor) -> Tensor:
        kept = self._kept.get(key)
        if kept is None or kept.size() != tensor.size() or kept.dtype != tensor.dtype:
            kept = self._kept[key] = torch.empty(tensor.size(), dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        return kept.copy_(tensor, non_blocking=True)
