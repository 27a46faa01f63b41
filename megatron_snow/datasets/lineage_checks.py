"""Whether a lineage fits its tokens: files lie one after the other, each ends as it should, sequences begin where files do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.datasets.indexed import IndexedDataset
from megatron_snow.datasets.lineage import SUFFIX, Lineage
from megatron_snow.datasets.sequences import NOTHING, Separation

_COLUMNS = ("token_start", "tokens", "group", "repository", "path")


def check_lineage(data: IndexedDataset) -> int:
    """Compare every row of PREFIX.lineage.parquet with PREFIX.starts.npy, the .idx and the tokens; how many files there are.

    UserError names the first file that does not fit. Memory: one row group.
    """
    lineage, path = Lineage(data.prefix), beside(data.prefix, SUFFIX)
    if lineage.num_tokens != data.num_tokens:
        raise UserError(f"{path}: of {lineage.num_tokens} tokens, the .bin has {data.num_tokens}; {_REMEDY}")
    try:
        separation = Separation.read(lineage.description["separation"])
    except KeyError as error:
        raise UserError(f"{path}: does not say how files are separated ({error}); {_REMEDY}") from error
    data.check_size()
    files, sequences, last_start, last_group = 0, 0, -1, -1
    for first, rows in lineage.tables(_COLUMNS):
        starts, groups = rows["token_start"].to_numpy(), rows["group"].to_numpy()
        nexts = np.append(starts[1:], lineage.starts(first + len(rows), 1) if first + len(rows) < len(lineage) else data.num_tokens)
        begins = _begins(data, starts, last_start)
        wrong = {
            "not where .starts.npy says": starts != lineage.starts(first, len(rows)),
            "before the file before it": np.diff(starts, prepend=max(0, last_start)) < 0,
            "of a group that neither goes on nor is the next": ~np.isin(np.diff(groups, prepend=last_group), (0, 1)),
            "the first of a group, but no sequence begins there": (np.diff(groups, prepend=last_group) > 0) & ~begins,
        }
        for what, which in wrong.items():
            _refuse(path, rows, which, what)
        _check_ends(path, rows, data, separation, nexts)
        files, sequences = files + len(rows), sequences + int(begins.sum())
        last_start, last_group = int(starts[-1]), int(groups[-1])
    if sequences != len(data):
        raise UserError(f"{path}: {sequences} sequences of the .idx begin with a file, there are {len(data)}; {_REMEDY}")
    return files


_REMEDY = "they do not belong together or one is damaged; make the dataset again with tools/preprocess_data.py"


def _begins(data: IndexedDataset, starts: NDArray[np.int64], last_start: int) -> NDArray[np.bool_]:
    """Whether each file begins a sequence; of files that start at one place (they have no tokens) the first."""
    places = starts * data.dtype.itemsize
    nearest = np.minimum(np.searchsorted(data.sequence_pointers, places), max(0, len(data) - 1))
    begins: NDArray[np.bool_] = (data.sequence_pointers[nearest] == places) if len(data) else np.zeros(len(places), np.bool_)
    return begins & (np.diff(starts, prepend=last_start) != 0)


def _check_ends(path: Path, rows: pa.Table, data: IndexedDataset, separation: Separation, nexts: NDArray[np.int64]) -> None:
    """After a file comes the end-of-document where a sequence ends, else the separator, and nothing more."""
    starts = rows["token_start"].to_numpy()
    ends = starts + rows["tokens"].to_numpy()
    closes = (nexts == data.num_tokens) | _begins(data, nexts, int(starts[0]) if len(starts) else -1)
    expected = separation.joints(closes)
    gaps = nexts - ends
    _refuse(path, rows, gaps != (expected != NOTHING), "not followed by one separator")
    there = expected != NOTHING
    _refuse(path, rows.filter(pa.array(there)), data.tokens[ends[there]] != expected[there], "not followed by its separator")


def _refuse(path: Path, rows: pa.Table, wrong: NDArray[np.bool_], what: str) -> None:
    if wrong.any():
        row = rows.slice(int(wrong.argmax()), 1).to_pylist()[0]
        raise UserError(f"{path}: {row['repository']} {row['path']} at token {row['token_start']} is {what}; {_REMEDY}")
