"""Stretches of tokens as hashes: is text of some files still somewhere in a .bin?

A window's hash is a polynomial over its tokens modulo 2^64, each token mixed first (splitmix64); differences of running sums give
those of all windows at once: some 40 million a second a core.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

WINDOW = 50  # tokens: about 12 lines of code; shorter ones are in many files by chance
_CHUNK = 1 << 20  # windows at a time
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_MOST_BITS = 27  # of the table that says which hashes cannot be there: 128 MB

Hashes = NDArray[np.uint64]


def window_hashes(tokens: NDArray[np.integer]) -> Hashes:
    """The hash of each window, uint64[max(0, tokens - WINDOW + 1)]; for up to some million tokens at a time."""
    parts = [_hashes(np.asarray(tokens[first : first + _CHUNK + WINDOW - 1])) for first in range(0, len(tokens), _CHUNK)]
    return np.concatenate([np.empty(0, np.uint64), *parts])


def _hashes(tokens: NDArray[np.integer]) -> Hashes:
    if len(tokens) < WINDOW:
        return np.empty(0, np.uint64)
    powers, inverses = _powers(len(tokens))
    x = (tokens.astype(np.uint64) + np.uint64(1)) * np.uint64(_BASE)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= powers
    np.cumsum(x, out=x)
    sums = x[WINDOW - 1 :].copy()
    sums[1:] -= x[: len(sums) - 1]
    sums *= inverses[: len(sums)]
    return (sums ^ (sums >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)


def _powers(count: int) -> tuple[Hashes, Hashes]:
    powers, inverses = _all_powers()
    return powers[:count], inverses[:count]


@cache
def _all_powers() -> tuple[Hashes, Hashes]:
    size = _CHUNK + WINDOW - 1
    bases = (_BASE, pow(_BASE, -1, 2**64))
    first, second = (np.cumprod(np.r_[np.uint64(1), np.full(size - 1, base, np.uint64)], dtype=np.uint64) for base in bases)
    return first, second


class WindowSet:
    """The windows of some files, to be found in others."""

    def __init__(self, hashes: Hashes) -> None:
        self.hashes = np.unique(hashes)
        bits = min(_MOST_BITS, max(16, (16 * len(self.hashes)).bit_length()))
        self._shift = np.uint64(64 - bits)
        self._possible = np.zeros(1 << bits, bool)
        self._possible[self.hashes >> self._shift] = True
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
            hashes = _hashes(np.asarray(tokens[first : first + _CHUNK + WINDOW - 1]))
            places = np.flatnonzero(self._possible[hashes >> self._shift])
            rows = np.minimum(np.searchsorted(self.hashes, hashes[places]), len(self.hashes) - 1)
            there = self.hashes[rows] == hashes[places]
            self._seen[rows[there]] = True
            yield first + places[there]
