"""Pass 4: the shingles of each candidate, by bin, a task a shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.files import beside
from megatron_snow.corpus.deduplication.candidates import NONE
from megatron_snow.corpus.deduplication.signed import Numbers, Signed
from megatron_snow.corpus.deduplication.units import read_array
from megatron_snow.corpus.shingles import shingle_sets
from megatron_snow.pipeline import Texts, batches_of, texts_of

TABLE, SETS = ".npy", ".sets"  # a column a candidate: bin, start and size of its set in SETS, facts, keys; the sets as uint64
BIN, START, SIZE, FIRST_FACT = 0, 1, 2, 3
_CHUNK_BYTES = 4_000_000  # of text that is shingled at a time


def scatter_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: of a shard's candidates the shingle sets and what verifying them needs; the text is read where there are any."""
    shard, path, bins_path = inputs
    signed = Signed.read(path)
    offset = parameters["first"]
    bins = np.array(read_array(bins_path)[offset : offset + signed.facts.shape[1]])
    rows = np.flatnonzero(bins != NONE)
    places = np.zeros((2, len(rows)), np.uint64)
    with open(beside(prefix, SETS), "wb") as file:
        done = written = 0
        for texts, chosen in _chosen(shard, rows, parameters.get("piece")) if len(rows) else ():
            hashes, ends = shingle_sets(texts, chosen, parameters["ngram"])
            here = slice(done, done + len(chosen))
            places[0, here] = written + np.concatenate(([0], ends[:-1]))
            places[1, here] = np.diff(ends, prepend=0)
            hashes.tofile(file)
            done, written = here.stop, written + len(hashes)
    assert done == len(rows), "a shard has the rows that were signed"
    table = _table(signed, rows, bins[rows], places)
    np.save(beside(prefix, TABLE), table[:, np.argsort(table[BIN], kind="stable")])
    return {"candidates": len(rows), "shingles": written}


def _table(signed: Signed, rows: NDArray[np.int64], bins: Numbers, places: Numbers) -> Numbers:
    keys = signed.keys_by_row(rows).T if len(rows) else np.empty((signed.shape.bands, 0), np.uint64)
    return np.concatenate([bins[None], places, signed.by_row()[:, rows], keys])


def _chosen(shard: Path, rows: NDArray[np.int64], piece: Any) -> Iterator[tuple[Texts, NDArray[np.int64]]]:
    """Texts with the chosen ones among them, by about _CHUNK_BYTES."""
    start = 0
    for batch in batches_of(shard, ["content"], piece):
        here = rows[slice(*np.searchsorted(rows, [start, start + batch.num_rows]))] - start
        start += batch.num_rows
        if len(here):
            texts = texts_of(batch["content"])
            sizes = np.cumsum(texts.offsets[here + 1] - texts.offsets[here])
            cuts = np.flatnonzero(np.diff(sizes // _CHUNK_BYTES)) + 1
            for part in np.split(here, cuts):
                yield texts, np.ascontiguousarray(part)
