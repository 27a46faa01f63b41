"""A random order that is computed and not stored.

Integers only, no generator of NumPy (whose stream may change between versions, NEP 19): a run resumed
after an update, or on another machine, sees the same order.
"""

from __future__ import annotations

import ctypes
import math
from typing import overload

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.native import load_native

# With 4 the values at neighbouring positions are related (chi-square of their differences), with 6 no test saw anything.
ROUNDS = 8
_LEAST_SIDE = 16  # of the network's two halves: with fewer values a round function is too seldom a good shuffle
_ALL = 0xFFFFFFFF

Numbers = NDArray[np.int64]


class NativePermutation(ctypes.Structure):
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
        self.native = NativePermutation(count, self._left, self._right, (ctypes.c_uint32 * ROUNDS)(*self._keys))

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
