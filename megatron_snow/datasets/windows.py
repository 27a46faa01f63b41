"""Stretches of tokens as hashes: is text of some files still somewhere in a .bin?

A window's hash is a polynomial over its tokens modulo 2^64, each token mixed first (splitmix64). csrc/data rolls it from one window
to the next; where that is not built, NumPy takes differences of running sums: the same numbers, ten times slower.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.native import load_native
from megatron_snow.datasets.permutation import pointer

WINDOW = 50  # tokens: about 12 lines of code; shorter ones are in many files by chance
_CHUNK = 1 << 18  # windows at a time
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_INVERSE = pow(_BASE, -1, 2**64)
_BITS = (16, 30)  # of the table that says which hashes cannot be there: 8 KB to 128 MB

Hashes = NDArray[np.uint64]


def window_hashes(tokens: NDArray[np.integer]) -> Hashes:
    """The hash of each window, uint64[max(0, tokens - WINDOW + 1)]. Tokens are uint16 or int32."""
    parts = [_hashes(tokens[first : first + _CHUNK + WINDOW - 1], None)[1] for first in range(0, len(tokens), _CHUNK)]
    return np.concatenate([np.empty(0, np.uint64), *parts])


class WindowSet:
    """The windows of some files, to be found in others."""

    def __init__(self, hashes: Hashes) -> None:
        ordered = np.sort(hashes)  # np.unique goes through a table that is five times slower
        self.hashes = ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)]]
        bits = min(_BITS[1], max(_BITS[0], (32 * len(self.hashes)).bit_length()))
        self._table = _Table(self.hashes, bits)
        self._seen = np.zeros(len(self.hashes), bool)

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def seen(self) -> int:
        """Different windows that were found so far."""
        return int(np.count_nonzero(self._seen))

    def find(self, tokens: NDArray[np.integer]) -> Iterator[NDArray[np.int64]]:
        """Where windows of the set begin in `tokens`, some at a time, ascending."""
        if not len(self.hashes):
            return
        for first in range(0, len(tokens), _CHUNK):
            places, hashes = _hashes(tokens[first : first + _CHUNK + WINDOW - 1], self._table)
            rows = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
            there = self.hashes[rows] == hashes
            self._seen[rows[there]] = True
            yield first + places[there]


class _Table:
    """A bit for the upper bits of a hash: most of those that are not in a set are known at once."""

    def __init__(self, hashes: Hashes, bits: int) -> None:
        self.shift, self.words = 64 - bits, np.zeros(1 << (bits - 6), np.uint64)
        tops = hashes >> np.uint64(self.shift)
        np.bitwise_or.at(self.words, (tops >> np.uint64(6)).astype(np.int64), np.uint64(1) << (tops & np.uint64(63)))

    def may_have(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Whether each hash may be in the set."""
        tops = hashes >> np.uint64(self.shift)
        return (self.words[(tops >> np.uint64(6)).astype(np.int64)] >> (tops & np.uint64(63)) & np.uint64(1)).astype(bool)


def _hashes(tokens: NDArray[np.integer], table: _Table | None) -> tuple[NDArray[np.int64], Hashes]:
    """(where, hash) of the windows of at most _CHUNK + WINDOW - 1 tokens that a table may have, or of all."""
    native, _ = load_native()
    if native is not None:
        return _hashes_in_c(native, np.ascontiguousarray(tokens), table)
    hashes = _hashes_in_numpy(tokens)
    places = np.arange(len(hashes)) if table is None else np.flatnonzero(table.may_have(hashes))
    return places, hashes[places]


def _hashes_in_c(native: ctypes.CDLL, tokens: NDArray[np.integer], table: _Table | None) -> tuple[NDArray[np.int64], Hashes]:
    assert tokens.dtype.itemsize in (2, 4), tokens.dtype
    count = max(0, len(tokens) - WINDOW + 1)
    places, hashes = np.empty(count, np.int64), np.empty(count, np.uint64)
    native.msnow_windows.restype = ctypes.c_int64
    found = native.msnow_windows(
        pointer(tokens), ctypes.c_int64(tokens.dtype.itemsize), ctypes.c_int64(len(tokens)), ctypes.c_int64(WINDOW),
        ctypes.c_uint64(_BASE), ctypes.c_uint64(_INVERSE), None if table is None else pointer(table.words),
        ctypes.c_int64(0 if table is None else table.shift), pointer(hashes), pointer(places),
    )  # fmt: skip
    return places[:found], hashes[:found]


def _hashes_in_numpy(tokens: NDArray[np.integer]) -> Hashes:
    if len(tokens) < WINDOW:
        return np.empty(0, np.uint64)
    powers, inverses = _powers()
    x = (tokens.astype(np.uint64) + np.uint64(1)) * np.uint64(_BASE)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= powers[: len(x)]
    np.cumsum(x, out=x)
    sums = x[WINDOW - 1 :].copy()
    sums[1:] -= x[: len(sums) - 1]
    sums *= inverses[: len(sums)]
    return (sums ^ (sums >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)


@cache
def _powers() -> tuple[Hashes, Hashes]:
    size = _CHUNK + WINDOW - 1
    first, second = (np.cumprod(np.r_[np.uint64(1), np.full(size - 1, base, np.uint64)], dtype=np.uint64) for base in (_BASE, _INVERSE))
    return first, second
