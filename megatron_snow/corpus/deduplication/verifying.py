"""Pass 5: the pairs of each bucket by their true Jaccard, and who stays of what they join; a task a bin."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.files import beside
from megatron_snow.common.native import load_native
from megatron_snow.corpus.deduplication.candidates import find
from megatron_snow.corpus.deduplication.ranks import NEW
from megatron_snow.corpus.deduplication.scattering import BIN, FIRST_FACT, SETS, SIZE, START, TABLE
from megatron_snow.corpus.deduplication.signed import DIGEST, FACTS, PLACE, Numbers
from megatron_snow.corpus.deduplication.units import Unit, read_array, runs_of, units_of
from megatron_snow.corpus.shingles import jaccard, pointer

# A document of a bucket is compared with so many before it by size. Larger buckets are near-copies of one file, which the
# first comparison joins: the window bounds the others.
WINDOW = 256


@dataclass(frozen=True)
class Candidates:
    """The candidates of a bin, by the size of their sets and their content digest."""

    sizes: NDArray[np.int64]
    starts: NDArray[np.int64]  # of its set in its unit's file
    units: NDArray[np.int64]  # number of its unit
    numbers: Numbers
    digests: Numbers  # uint64[2, candidates]
    ranks: Numbers  # uint64[4, candidates]
    keys: Numbers  # uint64[bands, candidates]


def verify_bin(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: (document, survivor) for each document of a bin that a similar one replaces, by document: uint64[2, documents].

    Parameters: bin, sets (folder of the scattered sets, from the plan's), threshold, memory_bytes.
    """
    plan = inputs[0]
    units, folder = units_of(plan), plan.parent / parameters["sets"]
    found = _candidates(units, folder, parameters["bin"])
    parent = np.arange(len(found.sizes), dtype=np.uint32)
    members, starts = _buckets(found.keys)
    block = _blocks(found.sizes, parameters["memory_bytes"])
    files = [beside(folder / unit.name, SETS) for unit in units]
    compared = 0
    for second in range(int(block[-1]) + 1 if len(block) else 0):
        for first in range(second + 1):
            chosen = np.flatnonzero((block == first) | (block == second))
            hashes, places = _load(found, chosen, files)
            compared += _verify(members, starts, block, (first, second), hashes, places, found.sizes, parameters["threshold"], parent)
    pairs = _survivors(found, parent)
    np.save(beside(prefix, ".npy"), pairs)
    return {"compared": compared, "dropped": pairs.shape[1]}


def _candidates(units: Sequence[Unit], folder: Path, bin: int) -> Candidates:
    tables, owners, ranks, numbers = [], [], [], []
    for number, unit in enumerate(units):
        table = read_array(beside(folder / unit.name, TABLE))
        table = table[:, slice(*np.searchsorted(table[BIN], np.array([bin, bin + 1], np.uint64)))]
        facts = table[FIRST_FACT : FIRST_FACT + FACTS]
        tables.append(table)
        owners.append(np.full(table.shape[1], number))
        ranks.append(unit.ranks_in(facts))
        numbers.append((facts[PLACE] >> np.uint64(32)) + np.uint64(unit.first))
    table, owner = np.concatenate(tables, 1), np.concatenate(owners)
    facts = table[FIRST_FACT : FIRST_FACT + FACTS]
    order = np.lexsort((*facts[DIGEST][::-1], table[SIZE]))
    sizes, starts = (table[row, order].astype(np.int64) for row in (SIZE, START))
    return Candidates(
        sizes, starts, owner[order], np.concatenate(numbers)[order], facts[DIGEST][:, order],
        np.concatenate(ranks, 1)[:, order], table[FIRST_FACT + FACTS :, order],
    )  # fmt: skip


def _buckets(keys: Numbers) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Members of all buckets one after the other, ascending in each, and where each starts, then the end."""
    order = np.argsort(keys.T.ravel(), kind="stable")
    starts, ends = runs_of(keys.T.ravel()[order])
    sizes = ends - starts
    bounds = np.concatenate(([0], np.cumsum(sizes)))
    places = np.repeat(starts - bounds[:-1], sizes) + np.arange(bounds[-1])
    return (order[places] // len(keys)).astype(np.uint32), bounds.astype(np.int64)


def _blocks(sizes: NDArray[np.int64], memory_bytes: int) -> NDArray[np.uint32]:
    """The block of each candidate: all of a bin in one, but where a component is larger than the memory: then two are held at a time."""
    total = 8 * np.cumsum(sizes)
    if not len(total) or total[-1] <= memory_bytes // 2:
        return np.zeros(len(total), np.uint32)
    return ((total - 1) // (memory_bytes // 4)).astype(np.uint32)


def _load(found: Candidates, chosen: NDArray[np.int64], files: Sequence[Path]) -> tuple[Numbers, NDArray[np.int64]]:
    """The sets of the chosen candidates, and where each of all candidates has its own."""
    places = np.zeros(len(found.sizes), np.int64)
    places[chosen] = np.cumsum(found.sizes[chosen]) - found.sizes[chosen]
    hashes = np.empty(int(found.sizes[chosen].sum()), np.uint64)
    for unit in np.unique(found.units[chosen]):
        mine = chosen[found.units[chosen] == unit]
        with open(files[unit], "rb") as file:
            for number in mine[np.argsort(found.starts[mine])]:
                file.seek(8 * int(found.starts[number]))
                file.readinto(hashes[places[number] : places[number] + found.sizes[number]])  # type: ignore[arg-type]
    return hashes, places


def _verify(
    members: NDArray[np.uint32],
    starts: NDArray[np.int64],
    block: NDArray[np.uint32],
    pair: tuple[int, int],
    hashes: Numbers,
    places: NDArray[np.int64],
    sizes: NDArray[np.int64],
    threshold: float,
    parent: NDArray[np.uint32],
) -> int:
    """Join the pairs of the blocks `pair` whose true Jaccard reaches the threshold; how many were compared."""
    native, _ = load_native()
    if native is None:
        return _verify_here(members, starts, block, pair, hashes, places, sizes, threshold, parent)
    native.msnow_verify.restype = ctypes.c_int64
    return int(
        native.msnow_verify(
            pointer(members), pointer(starts), ctypes.c_int64(len(starts) - 1), pointer(block), ctypes.c_int64(pair[0]),
            ctypes.c_int64(pair[1]), pointer(hashes), pointer(places), pointer(sizes), ctypes.c_double(threshold),
            ctypes.c_int64(WINDOW), pointer(parent),
        )
    )  # fmt: skip


def _verify_here(members, starts, block, pair, hashes, places, sizes, threshold, parent) -> int:  # type: ignore[no-untyped-def]
    """The same in Python, where csrc/data is not built."""
    refused: set[tuple[int, int]] = set()
    compared = 0
    for start, end in zip(starts[:-1].tolist(), starts[1:].tolist()):
        for j in range(start + 1, end):
            for a, b in ((int(members[i]), int(members[j])) for i in range(max(start, j - WINDOW), j)):
                far = sizes[a] < threshold * sizes[b] or (block[a], block[b]) != pair
                if far or (a, b) in refused or find(parent, a) == find(parent, b):
                    continue
                compared += 1
                one, other = (hashes[places[item] : places[item] + sizes[item]] for item in (a, b))
                if jaccard(one, other) >= threshold:
                    low, high = sorted((find(parent, a), find(parent, b)))
                    parent[high] = low
                else:
                    refused.add((a, b))
    return compared


def _survivors(found: Candidates, parent: NDArray[np.uint32]) -> Numbers:
    roots = np.array([find(parent, item) for item in range(len(parent))], np.uint64)
    order = np.lexsort((found.numbers, *found.digests[::-1], *found.ranks[::-1], roots))
    first = np.maximum.accumulate(np.where(np.diff(roots[order], prepend=NEW) != 0, np.arange(len(order)), 0))
    survivor = found.numbers[order][first]
    dropped = (survivor != found.numbers[order]) & (found.ranks[0][order] >= NEW)  # what was kept before is kept
    pairs = np.stack([found.numbers[order][dropped], survivor[dropped]])
    return pairs[:, np.argsort(pairs[0])]
