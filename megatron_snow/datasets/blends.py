"""Which source gives the i-th sample of a blend, a pure function of the shares: error below one sample in every prefix.

The largest deficit first, as Megatron does it, can fall further behind with many sources. Here each
sample of a source has a window in which it keeps the error below one, and the window that closes
first wins (Pfair scheduling on one processor, Baruah et al. 1996: always feasible). The state of that
is how many samples each source gave, so a phase of 100 M samples is held as its states at every
65,536th and worked out where it is read.
"""

from __future__ import annotations

import ctypes
import heapq
import math
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.native import load_native

Numbers = NDArray[np.int64]

_BLOCK = 65_536  # samples between two states
_KEPT = 4  # blocks worked out and kept: a batch touches at most two


class BlendOrder:
    """The sources of samples 0 to count - 1, and how many each gave before."""

    def __init__(self, shares: Sequence[float], count: int) -> None:
        """`shares` of the sources, above 0, together 1."""
        self._shares, self._count = np.array(shares, np.float64), count
        self._states = [np.zeros(len(shares), np.int64)]  # before each block
        self._blocks: OrderedDict[int, tuple[NDArray[np.uint16], Numbers]] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def at(self, rows: Sequence[int] | Numbers) -> tuple[Numbers, Numbers]:
        """(source, samples that it gave before) of each of these samples, int64[rows] each."""
        rows = np.asarray(rows, np.int64)
        sources, numbers = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        blocks = rows // _BLOCK
        for number in np.unique(blocks).tolist():
            mine = blocks == number
            order, given = self._block(number)
            sources[mine], numbers[mine] = order[rows[mine] % _BLOCK], given[rows[mine] % _BLOCK]
        return sources, numbers

    def totals(self) -> Numbers:
        """How many samples each source gives, int64[sources]."""
        last = self._count // _BLOCK
        totals = self._state(last).copy()
        _advance(self._shares, totals, last * _BLOCK, self._count - last * _BLOCK)
        return totals

    def _block(self, number: int) -> tuple[NDArray[np.uint16], Numbers]:
        if number not in self._blocks:
            order, given = np.empty(_BLOCK, np.uint16), np.empty(_BLOCK, np.int64)
            _advance(self._shares, self._state(number).copy(), number * _BLOCK, _BLOCK, order, given)
            self._blocks[number] = order, given
            if len(self._blocks) > _KEPT:
                self._blocks.popitem(last=False)
        return self._blocks[number]

    def _state(self, number: int) -> Numbers:
        while len(self._states) <= number:
            state = self._states[-1].copy()
            _advance(self._shares, state, (len(self._states) - 1) * _BLOCK, _BLOCK)
            self._states.append(state)
        return self._states[number]


def blend_order(shares: Sequence[float], count: int) -> NDArray[np.uint16]:
    """The sources of the first `count` samples at once, uint16[count]."""
    order = np.empty(count, np.uint16)
    _advance(np.array(shares, np.float64), np.zeros(len(shares), np.int64), 0, count, order)
    return order


def _advance(
    shares: NDArray[np.float64],
    given: Numbers,
    first: int,
    count: int,
    order: NDArray[np.uint16] | None = None,
    numbers: Numbers | None = None,
) -> None:
    """Samples first to first + count, before which each source gave `given`, which is kept up to date; both forms give the same."""
    native, _ = load_native()
    if native is None or not hasattr(native, "msnow_blend"):
        _advance_in_python(shares.tolist(), given, first, count, order, numbers)
        return
    pointers = [None if array is None else array.ctypes.data_as(ctypes.c_void_p) for array in (shares, given, order, numbers)]
    sizes = ctypes.c_int64(len(shares)), ctypes.c_int64(first), ctypes.c_int64(count)
    native.msnow_blend(pointers[0], sizes[0], pointers[1], sizes[1], sizes[2], pointers[2], pointers[3])


def _advance_in_python(
    shares: list[float], given: Numbers, first: int, count: int, order: NDArray[np.uint16] | None, numbers: Numbers | None
) -> None:
    counts: list[int] = given.tolist()
    closed = [(math.floor(counts[k] / share), k) for k, share in enumerate(shares)]  # slot at which its window opens
    heapq.heapify(closed)
    ready: list[tuple[int, int]] = []  # slot before which it must give
    for slot in range(first, first + count):
        while closed and closed[0][0] <= slot:
            _, source = heapq.heappop(closed)
            heapq.heappush(ready, (math.ceil((counts[source] + 1) / shares[source]), source))
        source = heapq.heappop(ready or closed)[1]  # one is always ready, but for the rounding of shares
        if order is not None:
            order[slot - first] = source
        if numbers is not None:
            numbers[slot - first] = counts[source]
        counts[source] += 1
        heapq.heappush(closed, (max(slot + 1, math.floor(counts[source] / shares[source])), source))
    given[:] = counts
