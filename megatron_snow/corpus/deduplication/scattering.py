"""Pass 4: the shingles of each candidate, by bin, a task a shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.files import beside
from megatron_snow.corpus.deduplication.candidates import NONE
from megatron_snow.corpus.deduplication.signed import DIGEST, Numbers, Signed, check_texts
from megatron_snow.corpus.deduplication.units import read_array
from megatron_snow.corpus.shingles import shingle_sets
from megatron_snow.pipeline import Texts, picked_rows, texts_of

TABLE, SETS = ".npy", ".sets"  # a column a candidate: bin, start and size of its set in SETS, facts, keys; the sets as uint64
BIN, START, SIZE, FIRST_FACT = 0, 1, 2, 3
_CHUNK_BYTES = 4_000_000  # of text that is shingled at a time


def scatter_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: of a shard's candidates the shingle sets and what verifying them needs; the text is read where there are any."""
    shard, path, bins_path = inputs
    signed = Signed.read(path)
    first = parameters["first"]
    bins = np.array(read_array(bins_path)[first : first + signed.facts.shape[1]])
    rows = np.flatnonzero(bins != NONE)
    facts = signed.by_row()[:, rows]
    sizes = [np.empty(0, np.int64)]
    with open(beside(prefix, SETS), "wb") as file:
        for texts in _texts(shard, rows, parameters.get("piece"), facts[DIGEST]) if len(rows) else ():
            for chosen in _chunks(texts):
                hashes, ends = shingle_sets(texts, chosen, parameters["ngram"])
                sizes.append(np.diff(ends, prepend=0))
                hashes.tofile(file)
    size = np.concatenate(sizes).astype(np.uint64)
    keys = signed.keys_by_row(rows).T if len(rows) else np.empty((signed.shape.bands, 0), np.uint64)
    table = np.concatenate([bins[None, rows], (np.cumsum(size) - size)[None], size[None], facts, keys])
    np.save(beside(prefix, TABLE), table[:, np.argsort(table[BIN], kind="stable")])
    return {"candidates": len(rows), "shingles": int(size.sum())}


def _texts(shard: Path, rows: NDArray[np.int64], piece: Any, digests: Numbers) -> Iterator[Texts]:
    """The texts of the chosen rows; UserError where they are not those that were signed."""
    done = 0
    for here, batch in picked_rows(shard, rows, ["content"], piece):
        texts = texts_of(batch["content"])
        check_texts(shard, texts, digests[:, done : done + len(here)])
        done += len(here)
        yield texts


def _chunks(texts: Texts) -> Iterator[NDArray[np.int64]]:
    """Runs of texts of about _CHUNK_BYTES."""
    cuts = np.flatnonzero(np.diff(texts.offsets[1:] // _CHUNK_BYTES)) + 1
    yield from np.split(np.arange(len(texts)), cuts)
