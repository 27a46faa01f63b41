"""The plan: shards in order, so that every document of the corpus has a number, and what partitions of them are.

A unit is a shard (or a piece of one) with its `Signed` file. Document numbers are the unit's first number plus the row;
units of a corpus that others are compared against come first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.checksums import file_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.common.records import read_json, write_json
from megatron_snow.corpus.deduplication.ranks import NEW
from megatron_snow.corpus.deduplication.signed import DIGEST, RANK, Numbers, Signed, SignedRanges
from megatron_snow.pipeline.tasks import input_digest

DIGESTS = ".digests.npy"  # the content digest of every document, by number
Pairs = NDArray[np.uint64]


@dataclass(frozen=True)
class Unit:
    """A shard's place among all documents."""

    name: str
    path: Path  # of its Signed file
    first: int
    documents: int
    old: bool

    def read(self) -> Signed:
        """Its documents."""
        return Signed.read(self.path)

    def ranges(self) -> SignedRanges:
        """Parts of it."""
        return SignedRanges(self.path)

    def ranks_in(self, facts: Numbers) -> Numbers:
        """The rank of some of its documents, from their facts, those that are not old behind all that are: uint64[4, documents]."""
        ranks = np.array(facts[RANK])
        if not self.old:
            ranks[0] |= NEW
        return ranks


def make_plan(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: a list of all units and the digests of all documents. Parameters: names, folders (from here), old (how many), the shape."""
    units, documents, keys = [], 0, 0
    for number, (path, name, folder) in enumerate(zip(inputs, parameters["names"], parameters["folders"])):
        signed, digest, old = Signed.read(path), input_digest(path), number < parameters["old"]
        if old and file_digest(path) != digest:  # the others were written just now
            raise UserError(f"{path}: damaged (its digest is not the one that stands in its record); run deduplicate-corpus there again")
        units.append({
            "name": name, "path": f"{folder}/{path.name}", "digest": digest, "first": documents,
            "documents": signed.facts.shape[1], "old": old,
        })  # fmt: skip
        documents += signed.facts.shape[1]
        keys += len(signed.keys)
    write_json(beside(prefix, ".json"), {"units": units})
    digests = new_array(beside(prefix, DIGESTS), (documents, 2))
    for unit, path in zip(units, inputs):
        digests[unit["first"] : unit["first"] + unit["documents"]] = Signed.read(path).by_row()[DIGEST].T
    return {"documents": documents, "keys": keys}


def units_of(plan: Path) -> list[Unit]:
    """The units of a plan, in order."""
    units = read_json(plan)["units"]
    return [Unit(unit["name"], plan.parent / unit["path"], unit["first"], unit["documents"], unit["old"]) for unit in units]


def new_array(path: Path, shape: tuple[int, ...], dtype: Any = np.uint64) -> NDArray[Any]:
    """An .npy file to fill, mapped into memory."""
    if 0 in shape:
        np.save(path, np.empty(shape, dtype))
        return np.empty(shape, dtype)
    return np.lib.format.open_memmap(path, "w+", dtype, shape)


def count_up(array: NDArray[np.uint64]) -> None:
    """0, 1, 2, ..., by parts: the whole would be held twice."""
    for start in range(0, len(array), 1 << 20):
        part = array[start : start + (1 << 20)]
        part[:] = np.arange(start, start + len(part), dtype=np.uint64)


def read_array(path: Path) -> NDArray[Any]:
    """An .npy file, mapped into memory where there is anything in it."""
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def bounds(partition: int, partitions: int) -> tuple[int, int]:
    """[low, high) of the 64-bit numbers of a partition."""
    return (partition << 64) // partitions, ((partition + 1) << 64) // partitions


def runs_of(values: NDArray[Any]) -> Iterator[NDArray[np.int64]]:
    """(starts, ends) of the runs of two or more equal values of a sorted array."""
    starts = np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1)) if len(values) else np.empty(0, np.int64)
    ends = np.concatenate((starts[1:], [len(values)])) if len(values) else starts
    several = ends - starts > 1
    yield starts[several]
    yield ends[several]


def join_pairs(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: for every document the number of the one that stays for it, itself where no pair (document, survivor) names it."""
    plan, *files = inputs
    units = units_of(plan)
    count = units[-1].first + units[-1].documents if units else 0
    survivors = new_array(beside(prefix, ".npy"), (count,))
    count_up(survivors)
    dropped = 0
    for path in files:
        documents, kept = read_array(path)
        survivors[documents] = kept
        dropped += len(documents)
    return {"dropped": dropped}
