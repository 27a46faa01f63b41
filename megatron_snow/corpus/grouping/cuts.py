"""Where datasets are cut into shards of about SHARD_BYTES, and so which output a group goes to.

Groups follow each other in their seeded order. A group of up to SHARD_BYTES is never cut; a larger one has shards of its
own, as many as it needs, its files in order from one to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from megatron_snow.pipeline import SHARD_BYTES

_LEAST_DOCUMENTS = 32  # a shard, where only their number is known: the chance of an empty one is e**-32


class Cut(NamedTuple):
    """Groups from that place in the order on are in the next shard; one group of their own where there are more `parts`."""

    first: int
    parts: int = 1


def cuts_of(orders: NDArray[np.uint64], sizes: NDArray[np.int64]) -> list[Cut]:
    """The cuts of a dataset whose groups have these places in the order and these bytes."""
    rows = np.argsort(orders, kind="stable")
    orders, sizes = orders[rows], sizes[rows]
    ends, large = np.cumsum(sizes), np.flatnonzero(sizes > SHARD_BYTES)
    cuts: list[Cut] = []
    start = 0
    while start < len(rows):
        next_large = int(large[np.searchsorted(large, start)]) if len(large) and large[-1] >= start else len(rows)
        if next_large == start:
            cuts.append(Cut(int(orders[start]), -(-int(sizes[start]) // SHARD_BYTES)))
            start += 1
            continue
        cuts.append(Cut(int(orders[start])))
        full = int(np.searchsorted(ends, ends[start] - sizes[start] + SHARD_BYTES)) + 1
        start = min(full, next_large)
    return cuts


def even_cuts(size: int, documents: int) -> list[Cut]:
    """The cuts of a dataset whose groups are single documents: their places are as good as even."""
    shards = max(1, min(size // SHARD_BYTES, documents // _LEAST_DOCUMENTS))
    return [Cut(2**64 * number // shards) for number in range(shards)]


class Router:
    """Numbers the outputs of all datasets, and says to which a group goes."""

    def __init__(self, cuts: Mapping[str, Sequence[Sequence[int]]]) -> None:
        """`cuts`: (first, parts) of each cut by dataset, as `cuts_of` gives them."""
        self.names: list[str] = []  # of the outputs: "training/Python-00000"
        self._cuts: dict[str, tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]] = {}
        for dataset, rows in sorted(cuts.items()):
            parts = np.array([parts for _, parts in rows], np.int64)
            starts = len(self.names) + np.cumsum(parts) - parts
            self._cuts[dataset] = np.array([first for first, _ in rows], np.uint64), parts, starts
            count = int(parts.sum())
            width = max(5, len(str(count - 1)))  # names sort as numbers
            self.names += [f"{dataset}-{number:0{width}d}" for number in range(count)]

    def output_of(self, dataset: str, order: int) -> tuple[int, int]:
        """(number of the first output, outputs) of the group at that place in the order."""
        firsts, parts, starts = self._cuts[dataset]
        cut = max(0, int(np.searchsorted(firsts, np.uint64(order), side="right")) - 1)
        return int(starts[cut]), int(parts[cut])
