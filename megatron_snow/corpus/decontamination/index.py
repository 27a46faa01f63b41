"""Finding any number of needles in texts, in one pass.

Why not one Aho-Corasick automaton: it finds bytes, so white space, punctuation and case must be normalised before
it, and a pattern is needed for each run of ten words. On 109 MB of real repositories with the 2,279 docstrings,
sentences and solutions of HumanEval and MBPP (25,000 runs), MB/s of one core (EPYC, 24 November 2026):

    this search                                365     (220 with the 20,920 texts of eleven files, 662,000 runs)
    ahocorasick_rs, whole needles               75     (179 without lower and white space; finds no part of a needle)
    ahocorasick_rs, runs of ten words           32     (185 without making words of the text)
    needle in text, text normalised before       2.2

Here a rolling hash over words normalises on the way and costs nearly the same for any number of runs. The words
themselves are compared after it, so the result is exact: a hash drops no document.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from megatron_snow.common.files import atomic_file
from megatron_snow.common.native import load_native
from megatron_snow.corpus.decontamination.needles import Needle
from megatron_snow.corpus.decontamination.runs import Runs, build_runs
from megatron_snow.corpus.decontamination.words import lower, lower_table, run_hashes, words_of
from megatron_snow.pipeline import Texts, texts_of

# A needle in a text: bytes of the text where its first run begins and where the unbroken stretch of runs from
# there ends, and how many of its runs the text has in all.
HIT = np.dtype([("text", "<i8"), ("start", "<i8"), ("end", "<i8"), ("needle", "<i4"), ("runs", "<i4")])
Hits = NDArray[Any]
_SHOWN_CHARACTERS = 400


@dataclass(frozen=True)
class Leak:
    """A needle that a text holds. `start` and `end` are characters of the text; `words` is what stands there, cut when long."""

    benchmark: str
    task: str
    kind: str
    text: str
    start: int
    end: int
    runs: int  # of the needle's runs, those that the text has

    def to_json(self) -> dict[str, Any]:
        """A record of the hits file."""
        return asdict(self)


class Index:
    """Needles by the hashes of their runs of words."""

    def __init__(self, needles: Sequence[Needle], ngram: int = 10, runs: Runs | None = None) -> None:
        self.needles = needles
        self.runs = build_runs(needles, ngram) if runs is None else runs
        self.reasons: list[str] = self.runs.reasons.tolist()
        self.trivial = sum(map(bool, self.reasons))

    def save(self, path: Path) -> None:
        """Write the arrays (.npz) that `load` reads in milliseconds."""
        with atomic_file(path, "wb") as file:
            np.savez(file, **self.runs._asdict())

    @classmethod
    def load(cls, path: Path, needles: Sequence[Needle]) -> Index:
        """What `save` wrote, for the same needles."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(needles, runs=Runs(**{name: arrays[name] for name in Runs._fields}))

    def leaks(self, text: str) -> list[Leak]:
        """Every needle that a text holds, each once, in the order of their first words."""
        return self.leaks_of(text, self.search(texts_of(pa.array([text], pa.large_string()))))

    def leaks_of(self, text: str, hits: Iterable[Any]) -> list[Leak]:
        """The hits of one text as records."""
        data = text.encode()
        return [self._leak(text, data, hit) for hit in hits]

    def _leak(self, text: str, data: bytes, hit: Any) -> Leak:
        needle = self.needles[hit["needle"]]
        start, end = (len(data[: hit[name]].decode()) for name in ("start", "end"))
        return Leak(needle.benchmark, needle.task, needle.kind, text[start:end][:_SHOWN_CHARACTERS], start, end, int(hit["runs"]))

    def search(self, texts: Texts) -> Hits:
        """All hits (HIT), each needle once a text, by text, start and needle."""
        if not len(self.runs.keys):
            return np.empty(0, HIT)
        native, _ = load_native()
        hits = self._search_in_python(texts) if native is None else self._search_native(native, texts)
        return hits[np.lexsort((hits["needle"], hits["start"], hits["text"]))]

    def _search_native(self, native: ctypes.CDLL, texts: Texts) -> Hits:
        native.msnow_find.restype = ctypes.c_int64
        count, done, parts = ctypes.c_int64(), 0, [np.empty(0, HIT)]
        latest = np.zeros(len(self.needles), np.int32)
        room = len(self.needles) + (1 << 16)
        while done < len(texts):
            hits = np.empty(room, HIT)
            sizes = [ctypes.c_int64(size) for size in (done, len(texts), len(self.needles), room)]
            arrays = _pointers(lower_table(), texts.data, texts.offsets, latest, hits)
            done = native.msnow_find(ctypes.byref(self._struct), *arrays, *sizes, ctypes.byref(count))
            parts.append(hits[: count.value].copy())
        return np.concatenate(parts)

    @cached_property
    def _struct(self) -> _Struct:
        """The arrays of the runs and two tables over them, as csrc/data/needles.cpp takes them."""
        runs, shortest = self.runs, int(self.runs.words.min())
        size = max(2, len(runs.keys).bit_length())  # a run a bucket, or two
        bits = size + 4  # 16 to 32 bits a run: one word in 16 passes in vain at most
        filter = np.zeros(1 << bits, np.bool_)
        filter[runs.suffixes >> np.uint64(64 - bits)] = True
        masks = np.zeros(1 << size, np.uint64)
        np.bitwise_or.at(masks, runs.suffixes >> np.uint64(64 - size), np.uint64(1) << (runs.words - 1).astype(np.uint64))
        edges = np.arange(1, 1 << size, dtype=np.uint64) << np.uint64(64 - size)
        buckets = np.concatenate(([0], np.searchsorted(runs.keys, edges), [len(runs.keys)])).astype(np.int64)
        arrays: list[NDArray[Any]] = [np.packbits(filter, bitorder="little"), masks, runs.keys, buckets, runs.codes, runs.code_starts]
        arrays = [np.ascontiguousarray(array) for array in (*arrays, runs.code_counts, runs.posting_starts, runs.postings)]
        pointers = [array.ctypes.data for array in arrays]
        struct = _Struct(*pointers, shortest, int(runs.words.max()), 64 - bits, 64 - size)
        struct.arrays = arrays  # they live as long as it does
        return struct

    def _search_in_python(self, texts: Texts) -> Hits:
        """The same at 2 MB/s."""
        found = []
        for number in range(len(texts)):
            data = texts.data[texts.offsets[number] : texts.offsets[number + 1]].tobytes()
            hits: dict[int, list[int]] = {}  # needle -> start, end, runs
            for start, end, run in self._runs_in(data):
                for needle in self.runs.postings[self.runs.posting_starts[run] : self.runs.posting_starts[run + 1]].tolist():
                    hit = hits.setdefault(needle, [start, end, 0])
                    hit[1:] = [end if start <= hit[1] else hit[1], hit[2] + 1]
            found += [(number, start, end, needle, runs) for needle, (start, end, runs) in hits.items()]
        return np.array(found, HIT)

    def _runs_in(self, data: bytes) -> list[tuple[int, int, int]]:
        """(first byte, end, run) of each run in a text, by its end."""
        words, found = words_of(data.decode()), []
        for length in np.unique(self.runs.words).tolist():
            hashes = run_hashes(words.hashes, length)
            places = np.minimum(np.searchsorted(self.runs.keys, hashes), len(self.runs.keys) - 1)
            for first in np.flatnonzero((self.runs.keys[places] == hashes) & (self.runs.words[places] == length)).tolist():
                codes = self.runs.codes[self.runs.code_starts[places[first]] :][: self.runs.code_counts[places[first]]]
                spans = zip(words.starts[first : first + length], words.ends[first : first + length])
                if "".join(lower(data[start:end].decode()) + "\0" for start, end in spans) == codes.tobytes().decode("utf-32-le"):
                    found.append((int(words.starts[first]), int(words.ends[first + length - 1]), int(places[first])))
        return sorted(found, key=lambda item: item[1])


class _Struct(ctypes.Structure):
    """MsnowIndex."""

    _ARRAYS = ("filter", "masks", "keys", "buckets", "codes", "code_starts", "code_counts", "posting_starts", "postings")
    _fields_ = (
        *((name, ctypes.c_void_p) for name in _ARRAYS),
        *((name, ctypes.c_int64) for name in ("shortest", "longest", "filter_shift", "bucket_shift")),
    )
    arrays: list[NDArray[Any]]


def _pointers(*arrays: NDArray[Any]) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(array.ctypes.data) for array in arrays]
