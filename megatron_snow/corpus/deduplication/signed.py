"""What deduplication needs to know of a shard's documents: their facts and the keys of their bands, in one .npy file.

The facts are sorted by content digest and the keys by themselves, so that any number of partitions are ranges of them
that are found by bisection, and the file does not depend on that number. 56 bytes a document and 12 a band.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.digests import digests_of
from megatron_snow.common.errors import UserError
from megatron_snow.pipeline import Texts

SUFFIX = ".signed.npy"
FACTS = 7  # numbers a document: digest (two), rank (four), row << 32 | n-grams
DIGEST, RANK, PLACE = slice(0, 2), slice(2, 6), 6

_FORMAT = 0x5349474E45440001  # "SIGNED", version 1
_HEADER = 6
Numbers = NDArray[np.uint64]


def numbers_of(digests: NDArray[np.uint8]) -> Numbers:
    """Digests as numbers that compare as they do: uint64[2, digests] from uint8[digests, 16]."""
    return np.ascontiguousarray(digests).view(">u8").astype(np.uint64).T


def check_texts(shard: Path, texts: Texts, signed: Numbers) -> None:
    """UserError where the texts of a shard are not those that were signed, given by their digests: uint64[2, texts]."""
    if not np.array_equal(numbers_of(digests_of(*texts)), signed):
        raise UserError(f"{shard}: changed since it was signed; run deduplicate-corpus again when nothing writes there")


@dataclass(frozen=True)
class Shape:
    """How texts were signed; files of different shapes do not compare."""

    ngram: int
    bands: int
    rows: int


@dataclass(frozen=True)
class Signed:
    """A shard's documents."""

    shape: Shape
    facts: Numbers  # uint64[FACTS, documents], by content digest
    keys: Numbers  # uint64[keys], ascending
    rows: NDArray[np.uint32]  # the document of each key

    @classmethod
    def of(cls, shape: Shape, digests: NDArray[np.uint8], ranks: Numbers, runs: NDArray[np.int64], keys: Numbers) -> Signed:
        """From what signing gives, in the order of the shard; documents without a word have no keys."""
        rows = np.arange(len(runs), dtype=np.uint64)
        facts = np.stack([*numbers_of(digests), *ranks, rows << np.uint64(32) | runs.astype(np.uint64)])
        hashed = np.flatnonzero(runs)
        return cls._sorted(shape, facts, keys[hashed].ravel(), np.repeat(hashed.astype(np.uint32), shape.bands))

    @classmethod
    def _sorted(cls, shape: Shape, facts: Numbers, keys: Numbers, rows: NDArray[np.uint32]) -> Signed:
        order = np.argsort(facts[0], kind="stable")
        places = np.argsort(keys, kind="stable")
        return cls(shape, np.ascontiguousarray(facts[:, order]), keys[places], rows[places])

    def kept(self, keep: NDArray[np.bool_]) -> Signed:
        """The documents of the rows that stay, numbered anew."""
        new = np.cumsum(keep, dtype=np.uint64) - np.uint64(1)
        old = self.facts[PLACE] >> np.uint64(32)
        stays, hashed = keep[old], keep[self.rows]
        facts = self.facts[:, stays]
        facts[PLACE] = new[old[stays]] << np.uint64(32) | facts[PLACE] & np.uint64(0xFFFFFFFF)
        return Signed(self.shape, facts, self.keys[hashed], new[self.rows[hashed]].astype(np.uint32))

    def by_row(self) -> Numbers:
        """The facts in the order of the shard."""
        facts = np.empty_like(self.facts)
        facts[:, self.facts[PLACE] >> np.uint64(32)] = self.facts
        return facts

    def keys_by_row(self, rows: NDArray[np.int64]) -> Numbers:
        """The keys of documents that have some, ascending: uint64[rows, bands]."""
        order = np.argsort(self.rows, kind="stable")
        owners = self.rows[order[:: self.shape.bands]]
        return self.keys[order].reshape(-1, self.shape.bands)[np.searchsorted(owners, rows)]

    def write(self, path: Path) -> None:
        """One flat array: header, facts, keys, rows (two in a number)."""
        rows = np.zeros(len(self.rows) + len(self.rows) % 2, np.uint32)
        rows[: len(self.rows)] = self.rows
        shape = self.shape
        header = np.array([_FORMAT, shape.ngram, shape.bands, shape.rows, self.facts.shape[1], len(self.keys)], np.uint64)
        np.save(path, np.concatenate([header, self.facts.ravel(), self.keys, rows.view(np.uint64)]))

    @classmethod
    def read(cls, path: Path) -> Signed:
        """A file, mapped into memory; UserError where it is none."""
        try:
            flat = np.load(path, mmap_mode="r", allow_pickle=False)
            form, ngram, bands, rows, documents, keys = (int(number) for number in flat[:_HEADER])
        except (OSError, EOFError, ValueError) as error:
            raise UserError(f"{path}: not what deduplicate-corpus writes beside a shard ({error}); run it there again") from error
        if form != _FORMAT:
            raise UserError(f"{path}: of another version; run deduplicate-corpus there again")
        middle = _HEADER + FACTS * documents
        facts = flat[_HEADER:middle].reshape(FACTS, documents)
        return cls(Shape(ngram, bands, rows), facts, flat[middle : middle + keys], flat[middle + keys :].view(np.uint32)[:keys])


class SignedRanges:
    """Ranges of a Signed file's sorted parts, read and not mapped: what bisection touches of a mapped file counts as memory."""

    def __init__(self, path: Path) -> None:
        signed = Signed.read(path)
        self._path, self._documents, self._keys = path, signed.facts.shape[1], len(signed.keys)
        self._start = path.stat().st_size - 8 * (_HEADER + FACTS * self._documents + self._keys + (self._keys + 1) // 2)

    def digests(self, low: int, high: int) -> Numbers:
        """The first number of each content digest in [low, high), ascending."""
        start, count = self._range(_HEADER, self._documents, low, high)
        return self._read(_HEADER + start, count)

    def facts(self, low: int, high: int) -> Numbers:
        """The facts of the documents whose digest begins in [low, high): uint64[FACTS, documents]."""
        start, count = self._range(_HEADER, self._documents, low, high)
        return np.stack([self._read(_HEADER + row * self._documents + start, count) for row in range(FACTS)])

    def keys(self, low: int, high: int) -> tuple[Numbers, NDArray[np.uint32]]:
        """(keys, rows) in [low, high)."""
        first = _HEADER + FACTS * self._documents
        start, count = self._range(first, self._keys, low, high)
        rows = np.fromfile(self._path, np.uint32, count, offset=self._start + 8 * (first + self._keys) + 4 * start)
        return self._read(first + start, count), rows

    def count(self, low: int, high: int) -> int:
        """How many keys there are in [low, high)."""
        return self._range(_HEADER + FACTS * self._documents, self._keys, low, high)[1]

    def _range(self, first: int, size: int, low: int, high: int) -> tuple[int, int]:
        """(start, count) of [low, high) among the `size` ascending numbers from number `first` of the file on."""
        with open(self._path, "rb", buffering=0) as file:

            def number(place: int) -> int:
                file.seek(self._start + 8 * (first + place))
                return int.from_bytes(file.read(8), "little")

            start = bisect_left(range(size), low, key=number)
            return start, bisect_left(range(size), high, start, key=number) - start

    def _read(self, place: int, count: int) -> Numbers:
        return np.fromfile(self._path, np.uint64, count, offset=self._start + 8 * place)
