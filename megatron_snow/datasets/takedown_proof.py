"""The proof that documents are gone from a dataset: every token of the new one is accounted for, and their text is looked for in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from megatron_snow.datasets.indexed import IndexedDataset
from megatron_snow.datasets.lineage import LINEAGE, TEXTS, Lineage
from megatron_snow.datasets.selection import Selection, find_files
from megatron_snow.datasets.sequences import Separation
from megatron_snow.datasets.windows import WINDOW, WindowSet, window_hashes

_LISTED = 100  # files of each kind in the report
_SIMILAR = 0.5  # of a file's windows that are text of removed files


class NotGone(RuntimeError):
    """The new dataset holds something that is not accounted for: an error of this program, nothing is committed."""


def prove(old: Path, new: Path, selection: Selection) -> dict[str, Any]:
    """Hold the new dataset against the old one; NotGone where a check fails.

    1. Its lineage names no file that is meant, and all others of the old one in their order.
    2. Its .bin is the files of its lineage, end to end, and nothing else but separators.
    3. Each file's tokens are those that it had.
    4. The windows of removed files are looked for in the whole .bin. By 1 to 3 what is found is text that kept files have of
       their own; the report names copies (the same id) and files of which half the windows are text of removed ones.
    """
    before, after = Lineage(old), Lineage(new)
    report = _account(before, after, selection)
    return report | _search(before, after, selection)


def _account(before: Lineage, after: Lineage, selection: Selection) -> dict[str, Any]:
    old, new = IndexedDataset(before.prefix), IndexedDataset(after.prefix)
    separation = Separation.read(after.description["separation"])
    end = files = separators = 0
    kept = _KeptRows(before, selection)
    for _, rows in after.tables():
        _check(not selection.mask(rows).any(), after, "its lineage names files that were to be taken down")
        same = kept.take(len(rows))
        _check(rows.select(TEXTS).equals(same.select(TEXTS)), after, "its files are not those that were to stay")
        starts, lengths = rows["token_start"].to_numpy(), rows["tokens"].to_numpy()
        gaps = starts - np.concatenate([[end], starts[:-1] + lengths[:-1]])
        _check(bool(np.isin(gaps, (0, 1)).all()), after, "there are tokens between its files")
        joints = new.tokens[starts[gaps == 1] - 1]
        _check(bool(np.isin(joints, (separation.eod, separation.separator)).all()), after, "what is between its files is no separator")
        names = rows["name_tokens"].to_numpy() - same["name_tokens"].to_numpy()  # those that moved here
        _compare(old, new, (same["token_start"].to_numpy(), starts + names, lengths - names), after)
        end, files, separators = int(starts[-1] + lengths[-1]), files + len(rows), separators + int(gaps.sum())
    _check(not len(kept.take(1)), after, "files that were to stay are missing")
    _check(new.num_tokens == (end + 1 if files else 0), after, "there are tokens after its last file")
    return {"files_compared": files, "tokens": new.num_tokens, "separators": separators + bool(files)}


def _compare(
    old: IndexedDataset, new: IndexedDataset, ranges: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], after: Lineage
) -> None:
    for before, here, count in zip(*(column.tolist() for column in ranges)):
        same = np.array_equal(old.read(before, count), new.read(here, count))
        _check(same, after, f"the tokens from {here} on are not those of its file")


class _KeptRows:
    """The rows of the old lineage that stay, as many at a time as are asked for."""

    def __init__(self, before: Lineage, selection: Selection) -> None:
        self._tables = (rows.filter(pa.array(~selection.mask(rows))) for _, rows in before.tables())
        self._rest = LINEAGE.empty_table()

    def take(self, count: int) -> pa.Table:
        """The next ones; fewer where there are no more."""
        while len(self._rest) < count and (table := next(self._tables, None)) is not None:
            self._rest = pa.concat_tables([self._rest, table])
        taken, self._rest = self._rest.slice(0, count), self._rest.slice(count)
        return taken


def _search(before: Lineage, after: Lineage, selection: Selection) -> dict[str, Any]:
    old, new = IndexedDataset(before.prefix), IndexedDataset(after.prefix)
    hashes, ids = [np.empty(0, np.uint64)], [pa.array([], pa.string())]
    for found in find_files(before, selection):
        ids.append(found.rows["id"].combine_chunks())
        starts, lengths = (found.rows[column].to_pylist() for column in ("token_start", "tokens"))
        hashes += [window_hashes(old.read(start, length)) for start, length in zip(starts, lengths)]
    removed, gone = WindowSet(np.concatenate(hashes)), pc.unique(pa.concat_arrays(ids))
    copies: list[dict[str, Any]] = []
    similar: list[dict[str, Any]] = []
    for _, rows in after.tables():
        shares = _shares(new, rows, removed)
        copied = pc.and_(pc.is_in(rows["id"], gone), pc.greater(rows["size"], 0)).to_numpy()  # empty files say nothing
        copies += _named(rows, np.flatnonzero(copied), shares)
        similar += _named(rows, np.flatnonzero((shares >= _SIMILAR) & ~copied), shares)
    windows = {"windows_removed": len(removed), "windows_in_kept_files": removed.seen, "window_tokens": WINDOW}
    lists = {"copies": copies[:_LISTED], "similar": sorted(similar, key=lambda file: -file["share"])[:_LISTED]}
    return windows | {"num_copies": len(copies), "num_similar": len(similar), **lists}


def _shares(data: IndexedDataset, rows: pa.Table, removed: WindowSet) -> NDArray[np.float64]:
    """The part of each file's windows that removed files have too."""
    starts, lengths = rows["token_start"].to_numpy(), rows["tokens"].to_numpy()
    hits, first = np.zeros(len(rows), np.int64), int(starts[0])
    for places in removed.find(data.read(first, int(starts[-1] + lengths[-1]) - first)):
        files = np.searchsorted(starts, first + places, side="right") - 1
        whole = first + places + WINDOW <= starts[files] + lengths[files]  # not across a border
        hits += np.bincount(files[whole], minlength=len(rows))
    return hits / np.maximum(1, lengths - WINDOW + 1)


def _named(rows: pa.Table, numbers: NDArray[np.int64], shares: NDArray[np.float64]) -> list[dict[str, Any]]:
    named = rows.take(pa.array(numbers)).select(["repository", "path", "licence", "id"]).to_pylist()
    return [{**row, "share": round(float(shares[number]), 3)} for row, number in zip(named, numbers.tolist())]


def _check(holds: bool, after: Lineage, what: str) -> None:
    if not holds:
        raise NotGone(f"{after.prefix}: {what}; this is a mistake of take-down, please report it")
