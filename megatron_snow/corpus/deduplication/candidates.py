"""Pass 3: documents that share a key of a band (a task a partition of keys), and which of them hang together."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.files import beside
from megatron_snow.common.native import load_native
from megatron_snow.corpus.deduplication.signed import PLACE
from megatron_snow.corpus.deduplication.units import Pairs, Unit, bounds, count_up, new_array, read_array, runs_of, units_of
from megatron_snow.corpus.shingles import pointer

BYTES = 96  # a key takes, in memory: itself and its document, as read, without exact duplicates, sorted; the order; the runs
NONE = np.uint64(0xFFFFFFFFFFFFFFFF)  # no candidate


def find_candidates(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: (first document of a bucket, another of it), each pair once: uint64[2, pairs]. Exact duplicates are left out."""
    units, first = units_of(inputs[0]), read_array(inputs[1])
    low, high = bounds(parameters["partition"], parameters["partitions"])
    parts = [np.empty((2, 0), np.uint64)]
    for keys, documents in _slices(units, low, high, parameters["memory_bytes"] // BYTES):
        alone = first[documents] == documents
        parts.append(_links(keys[alone], documents[alone]))
        del keys, documents, alone  # before the next slice is read
    links = _distinct(np.concatenate(parts, 1))
    np.save(beside(prefix, ".npy"), links)
    return {"links": links.shape[1]}


def _slices(units: Sequence[Unit], low: int, high: int, most: int) -> Iterator[tuple[Pairs, Pairs]]:
    """(keys, documents) in [low, high), halved while they are more than `most`: one key's documents stay together."""
    ranges = [unit.ranges() for unit in units]
    total = sum(each.count(low, high) for each in ranges)
    if total > most and high - low > 1:
        middle = (low + high) // 2
        yield from _slices(units, low, middle, most)
        yield from _slices(units, middle, high, most)
        return
    keys, documents, done = np.empty(total, np.uint64), np.empty(total, np.uint64), 0
    for unit, each in zip(units, ranges):
        found, rows = each.keys(low, high)
        here = slice(done, done + len(found))
        keys[here], documents[here], done = found, rows + np.uint64(unit.first), here.stop
    yield keys, documents


def _links(keys: Pairs, documents: Pairs) -> Pairs:
    order = np.argsort(keys, kind="stable")
    starts, ends = runs_of(keys[order])
    sizes = ends - starts
    heads = np.repeat(starts, sizes - 1)
    others = heads + 1 + np.arange(len(heads)) - np.repeat(np.cumsum(sizes - 1) - (sizes - 1), sizes - 1)
    return _distinct(documents[order][np.stack([heads, others])])


def _distinct(pairs: Pairs) -> Pairs:
    pairs = pairs[:, np.lexsort(pairs)]
    new = np.ones(pairs.shape[1], np.bool_)
    new[1:] = (pairs[:, 1:] != pairs[:, :-1]).any(0)
    return pairs[:, new]


def find_components(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: the bin of every candidate, by document, NONE for others. A component is in one bin; its sets are verified together."""
    plan, *files = inputs
    units = units_of(plan)
    count = units[-1].first + units[-1].documents if units else 0
    bins = new_array(beside(prefix, ".npy"), (count,))
    count_up(bins)
    candidate = np.zeros(count, np.bool_)
    for path in files:
        links = np.array(read_array(path))
        candidate[links] = True
        join(bins, links)
    members = np.flatnonzero(candidate)
    roots = _roots(bins)[members]
    bins[:] = NONE
    bins[members], number = _fill(roots, _weights(units, members, parameters["bands"]), parameters["memory_bytes"])
    return {"bins": number, "candidates": len(members)}


def _weights(units: Sequence[Unit], members: NDArray[np.int64], bands: int) -> NDArray[np.int64]:
    """Bytes that verifying a candidate takes at most: its shingles, and its keys with what sorts them."""
    weights = np.empty(len(members), np.int64)
    for unit in units:
        mine = slice(*np.searchsorted(members, [unit.first, unit.first + unit.documents]))
        if mine.stop > mine.start:
            places = unit.read().facts[PLACE]
            runs = np.empty(unit.documents, np.uint64)
            runs[places >> np.uint64(32)] = places & np.uint64(0xFFFFFFFF)
            weights[mine] = 8 * runs[members[mine] - unit.first] + np.uint64(200 + 48 * bands)
    return weights


def _fill(roots: Pairs, weights: NDArray[np.int64], memory_bytes: int) -> tuple[NDArray[np.uint64], int]:
    """The bin of each member: components in order, as many to a bin as half the memory holds; one that is larger is alone."""
    _, component = np.unique(roots, return_inverse=True)
    sizes = np.bincount(component, weights).astype(np.int64)
    ends = np.cumsum(sizes)
    _, bin = np.unique((ends - 1) // (memory_bytes // 2), return_inverse=True)
    return bin[component].astype(np.uint64), int(bin[-1]) + 1 if len(bin) else 0


def join(parent: Pairs, pairs: Pairs) -> None:
    """Union-find over 0..n-1, in place; the root of a component is its smallest member."""
    native, _ = load_native()
    if native is not None:
        a, b = np.ascontiguousarray(pairs)
        native.msnow_join(pointer(parent), pointer(a), pointer(b), ctypes.c_int64(len(a)))
        return
    for a, b in pairs.T.tolist():
        low, high = sorted((find(parent, a), find(parent, b)))
        parent[high] = low


def find(parent: NDArray[Any], item: int) -> int:
    """The root of an item's component."""
    while parent[item] != item:
        parent[item] = parent[parent[item]]  # halve the path
        item = int(parent[item])
    return item


def _roots(parent: Pairs) -> Pairs:
    native, _ = load_native()
    if native is not None:
        native.msnow_roots(pointer(parent), ctypes.c_int64(len(parent)))
    else:
        for item in range(len(parent)):
            parent[item] = parent[int(parent[item])]  # roots come before their members
    return parent
