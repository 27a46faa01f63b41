"""Boxes of a tensor of the whole model: what one rank writes of it, or reads.

ZeRO-1 gives each rank a flat range of a weight's moments. Here a range is at most three boxes of a matrix (the rest of a row, whole rows,
the beginning of a row), so that it is written in the weight's own shape: no rank has to hold more than its range, and what was saved
in one layout is read in any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata

Box = tuple[tuple[int, ...], tuple[int, ...]]  # offsets, sizes


@dataclass(frozen=True)
class Pieces:
    """Boxes of a tensor of shape `size`, which this rank has in memory."""

    size: torch.Size
    dtype: torch.dtype
    tensors: dict[tuple[int, ...], Tensor] = field(default_factory=dict)  # offsets of the box -> its values

    @classmethod
    def of_whole(cls, tensor: Tensor) -> Pieces:
        """The tensor as one box."""
        return cls(tensor.size(), tensor.dtype, {(0,) * tensor.dim(): tensor})

    @property
    def chunks(self) -> list[ChunkStorageMetadata]:
        """The boxes in torch's words."""
        return [ChunkStorageMetadata(torch.Size(offsets), tensor.size()) for offsets, tensor in self.tensors.items()]

    def add(self, flat: Tensor, within: Sequence[int], shape: Sequence[int], first: int) -> None:
        """Add what `flat` holds: elements from `first` on of the box of that shape which begins at `within`."""
        start = 0
        for offsets, sizes in boxes(shape, first, first + flat.numel()):
            end = start + math.prod(sizes)
            self.tensors[tuple(a + b for a, b in zip(within, offsets))] = flat[start:end].view(sizes)
            start = end


def boxes(shape: Sequence[int], first: int, stop: int) -> Iterator[Box]:
    """The elements [first, stop) of a tensor of `shape`, in the order of memory, as boxes in that order: at most 2 · dimensions - 1."""
    if first >= stop:
        return
    if len(shape) == 1:
        yield (first,), (stop - first,)
        return
    inner = math.prod(shape[1:])
    row, last = -(-first // inner), stop // inner  # whole rows: row to last - 1
    if row > last:
        yield from _within_row(shape, last, first - last * inner, stop - last * inner)
        return
    yield from _within_row(shape, row - 1, first - (row - 1) * inner, inner if first < row * inner else 0)
    if last > row:
        yield (row, *(0 for _ in shape[1:])), (last - row, *shape[1:])
    yield from _within_row(shape, last, 0, stop - last * inner)


def _within_row(shape: Sequence[int], row: int, first: int, stop: int) -> Iterator[Box]:
    for offsets, sizes in boxes(shape[1:], first, stop):
        yield (row, *offsets), (1, *sizes)
