"""The order of training: pure functions of a key and a number, so that resuming cannot change it.

Nothing of the size of the data is stored or shuffled: `Permutation` computes where a position goes.
Integers only, no generator of NumPy (whose stream may change between versions, NEP 19): a run resumed
after an update, or on another machine, sees the same order.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.checksums import value_digest
from megatron_snow.common.native import load_native

ROUNDS = 8
BLOCK = 2**20  # sequences at once where a whole dataset is gone through
_LEAST_SIDE = 16  # of the network's two halves: with fewer values a round function is too seldom a good shuffle
_ALL = 0xFFFFFFFF

Numbers = NDArray[np.int64]


def derive_key(*parts: str | int) -> int:
    """64 bits from names and numbers, the same on every machine."""
    return int(value_digest(parts)[:16], 16)


class _Native(ctypes.Structure):
    """struct Permutation of csrc/data/permutation.h."""

    _fields_ = [
        ("count", ctypes.c_uint64),
        ("left_size", ctypes.c_uint64),
        ("right_size", ctypes.c_uint64),
        ("keys", ctypes.c_uint32 * ROUNDS),
    ]


class Permutation:
    """A random order of range(count), computed and not stored: `order(i)` is what stands at position i.

    A Feistel network over pairs (left, right), sent through again while it leaves the range (cycle
    walking; Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains"). About 6 ns a position in
    csrc/data for runs of them; the same numbers from NumPy where that is not built.
    """

    def __init__(self, count: int, key: int) -> None:
        """`key`: 64 bits (`derive_key`); `count` below 2^62."""
        assert 0 <= count < 2**62, count
        self.count = count
        self._left = max(_LEAST_SIDE, math.isqrt(max(0, count - 1)) + 1)
        self._right = max(_LEAST_SIDE, -(-count // self._left))
        self._keys = _round_keys(key)
        self.native = _Native(count, self._left, self._right, (ctypes.c_uint32 * ROUNDS)(*self._keys))

    def __len__(self) -> int:
        return self.count

    @overload
    def __call__(self, positions: int) -> int: ...
    @overload
    def __call__(self, positions: NDArray[np.integer]) -> Numbers: ...
    def __call__(self, positions: int | NDArray[np.integer]) -> int | Numbers:
        """What stands at a position, or int64[n] at many; IndexError outside of range(count)."""
        return self._apply(positions, "msnow_permute", self._forward)

    @overload
    def inverse(self, values: int) -> int: ...
    @overload
    def inverse(self, values: NDArray[np.integer]) -> Numbers: ...
    def inverse(self, values: int | NDArray[np.integer]) -> int | Numbers:
        """Where a value stands, or int64[n] where many do; IndexError outside of range(count)."""
        return self._apply(values, "msnow_permute_back", self._backward)

    def _apply(self, x, name, once):  # type: ignore[no-untyped-def]
        if isinstance(x, np.ndarray):
            return self._apply_to_array(x, name, once)
        if not 0 <= x < self.count:
            raise IndexError(f"{x} is not in range({self.count})")
        x = once(int(x))
        while x >= self.count:
            x = once(x)
        return x

    def _apply_to_array(self, x, name, once):  # type: ignore[no-untyped-def]
        x = np.ascontiguousarray(x, np.int64)
        if x.size and not (x.min() >= 0 and x.max() < self.count):
            raise IndexError(f"{x.min()} to {x.max()} are not in range({self.count})")
        native, _ = load_native()
        if native is not None:
            out = np.empty_like(x)
            getattr(native, name)(ctypes.byref(self.native), pointer(x), ctypes.c_int64(x.size), pointer(out))
            return out
        x = once(x.astype(np.uint64))
        while (outside := x >= self.count).any():
            x[outside] = once(x[outside])
        return x.astype(np.int64)

    def _forward(self, x):  # type: ignore[no-untyped-def]
        """Once through the network: an int or uint64[n]."""
        left, right = divmod(x, self._right)
        for first, second in zip(self._keys[::2], self._keys[1::2]):
            left = (left + _hash(right, first, self._left)) % self._left
            right = (right + _hash(left, second, self._right)) % self._right
        return left * self._right + right

    def _backward(self, x):  # type: ignore[no-untyped-def]
        left, right = divmod(x, self._right)
        for first, second in zip(self._keys[-2::-2], self._keys[::-2]):
            right = (right + (self._right - _hash(left, second, self._right))) % self._right
            left = (left + (self._left - _hash(right, first, self._left))) % self._left
        return left * self._right + right


def _hash(half, key, size):  # type: ignore[no-untyped-def]
    """In range(size): Wellons' lowbias32 of half + key, scaled."""
    x = half + key & _ALL
    x = (x ^ (x >> 16)) * 0x7FEB352D & _ALL
    x = (x ^ (x >> 15)) * 0x846CA68B & _ALL
    return (x ^ (x >> 16)) * size >> 32


def _round_keys(key: int) -> list[int]:
    """The stream of splitmix64 (Steele et al. 2014), its upper halves."""
    keys = []
    for i in range(1, ROUNDS + 1):
        x = key + i * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        keys.append((x ^ (x >> 31)) >> 32)
    return keys


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    """Of a contiguous array, for csrc/data."""
    return ctypes.c_void_p(array.ctypes.data)


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


class SequenceOrder:
    """The sequences of a dataset in the order of training: each once, or `passes` times, all passes shuffled together."""

    def __init__(self, sequences: int, key: int, passes: int = 1, subset: Subset | None = None) -> None:
        self.sequences = subset.count if subset else sequences  # that are read
        assert self.sequences <= sequences, (subset, sequences)
        self.places = Permutation(passes * self.sequences, key)
        self.chosen = Permutation(sequences, subset.key) if subset else None
        self.passes = passes

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


def permutation(count: int, key: int) -> np.ndarray:
    """A random order of range(count), int64.

    Sorting by a hash (splitmix64) instead of NumPy's Generator, whose stream may change between
    versions (NEP 19): a run resumed after an update must see the same order.
    """
    x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(x ^ (x >> np.uint64(31)), kind="stable")


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


class EpochOrder:
    """One epoch over groups that lie end to end: which tokens make up its k-th sample."""

    def __init__(self, group_ends: np.ndarray, seq_length: int, key: int) -> None:
        """`group_ends` int64[n]: where each group ends in the .bin, in tokens."""
        lengths = np.diff(group_ends, prepend=0)
        order = permutation(len(lengths), derive_key("groups", key))
        self._starts, self._lengths = (group_ends - lengths)[order], lengths[order]
        self._ends = np.cumsum(self._lengths, dtype=np.int64)
        self._seq_length = seq_length
        total = int(self._ends[-1]) if len(self._ends) else 0
        self._samples = permutation(samples_per_epoch(total, seq_length), derive_key("samples", key))

    def __len__(self) -> int:
        return len(self._samples)

    def spans(self, k: int) -> list[Span]:
        """The pieces of the k-th sample, seq_length + 1 tokens together."""
        offset, missing = int(self._samples[k]) * self._seq_length, self._seq_length + 1
        group = int(np.searchsorted(self._ends, offset, side="right"))
        spans = []
        while missing:
            inside = offset - (int(self._ends[group]) - int(self._lengths[group]))
            count = min(missing, int(self._lengths[group]) - inside)
            if count:
                spans.append(Span(int(self._starts[group]) + inside, count))
            missing, offset, group = missing - count, offset + count, group + 1
        return spans
