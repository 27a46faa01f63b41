"""The order of training: pure functions of a key and a number, so that resuming cannot change it.

Nothing of the size of the data is stored or shuffled: `Permutation` computes where a position goes.
Integers only, no generator of NumPy (whose stream may change between versions, NEP 19): a run resumed
after an update, or on another machine, sees the same order.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.checksums import value_digest
from megatron_snow.datasets.permutation import NativePermutation, Numbers, Permutation

BLOCK = 2**20  # sequences at once where a whole dataset is gone through


def derive_key(*parts: str | int) -> int:
    """64 bits from names and numbers, the same on every machine."""
    return int(value_digest(parts)[:16], 16)


@dataclass(frozen=True)
class Span:
    """Consecutive tokens of a .bin."""

    first_token: int
    count: int


@dataclass(frozen=True)
class Subset:
    """The first `count` sequences of a dataset in a random order that is the same in every pass."""

    count: int
    key: int  # 64 bits


class NativeSequenceOrder(ctypes.Structure):
    """struct SequenceOrder of csrc/data/samples.h."""

    _fields_ = [
        ("places", NativePermutation),
        ("chosen", NativePermutation),
        ("sequences", ctypes.c_uint64),
        ("subset", ctypes.c_int64),
    ]


class SequenceOrder:
    """The sequences of a dataset in the order of training: each once, or `passes` times, all passes shuffled together."""

    def __init__(self, sequences: int, key: int, passes: int = 1, subset: Subset | None = None) -> None:
        self.sequences = subset.count if subset else sequences  # that are read
        assert self.sequences <= sequences, (subset, sequences)
        self.places = Permutation(passes * self.sequences, key)
        self.chosen = Permutation(sequences, subset.key) if subset else None
        self.passes = passes
        self.native = NativeSequenceOrder(
            self.places.native, self.chosen.native if self.chosen else NativePermutation(), self.sequences, self.chosen is not None
        )

    def __len__(self) -> int:
        return self.places.count

    @overload
    def __call__(self, places: int) -> int: ...
    @overload
    def __call__(self, places: NDArray[np.integer]) -> Numbers: ...
    def __call__(self, places: int | NDArray[np.integer]) -> int | Numbers:
        """The sequence at a place, or int64[n] at many."""
        numbers = self.places(places) % self.sequences
        return self.chosen(numbers) if self.chosen else numbers

    def count_tokens(self, lengths: NDArray[np.int32]) -> int:
        """Tokens of all passes."""
        if self.chosen is None:
            return self.passes * int(lengths.sum(dtype=np.int64))
        blocks = (np.arange(first, min(first + BLOCK, self.sequences)) for first in range(0, self.sequences, BLOCK))
        return self.passes * sum(int(lengths[self.chosen(block)].sum(dtype=np.int64)) for block in blocks)


def subset_of(lengths: NDArray[np.int32], tokens: int, key: int) -> Subset:
    """The fewest first sequences of the order of `key` that hold so many tokens; all where they hold fewer."""
    order, found = Permutation(len(lengths), key), 0
    for first in range(0, len(lengths), BLOCK):
        ends = found + np.cumsum(lengths[order(np.arange(first, min(first + BLOCK, len(lengths))))], dtype=np.int64)
        if ends[-1] >= tokens:
            return Subset(first + int(np.searchsorted(ends, tokens)) + 1, key)
        found = int(ends[-1])
    return Subset(len(lengths), key)


def samples_per_epoch(num_tokens: int, seq_length: int) -> int:
    """Whole samples of seq_length + 1 tokens, overlapping by one."""
    return max(0, (num_tokens - 1) // seq_length)


def rank_rows(step: int, global_batch_size: int, rank: int, ranks: int) -> range:
    """The samples of a phase that data-parallel rank `rank` of `ranks` reads at the phase's step (from 0).

    The step's batch is [step * B, (step + 1) * B); a rank takes one contiguous block of it, so the
    batch is the same whatever the number of ranks.
    """
    first = step * global_batch_size
    return range(first + global_batch_size * rank // ranks, first + global_batch_size * (rank + 1) // ranks)
