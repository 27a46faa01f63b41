"""The order of documents: groups in a seeded order, in a group by corpus.file_order, in repo-language by language first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from megatron_snow.corpus.grouping.import_graph import import_order
from megatron_snow.corpus.grouping.imports import PARSERS, imports_of
from megatron_snow.corpus.grouping.placement import is_held_out, order_of

Order = NDArray[np.int64]


def document_keys(table: pa.Table, seed: int) -> NDArray[np.uint64]:
    """The seeded place of each document, which also names it: of columns repository, path, id."""
    names = zip(*(table[name].to_pylist() for name in ("repository", "path", "id")))
    return np.fromiter((order_of(seed, f"{repository}/{path}#{id}") for repository, path, id in names), np.uint64, table.num_rows)


def with_imports(table: pa.Table, file_order: str) -> pa.Table:
    """The table with a column of what each file imports in place of its content; without either where the order needs none."""
    without = table.drop_columns(["content"]) if "content" in table.column_names else table
    if file_order != "imports":
        return without
    texts = zip(table["language"].to_pylist(), table["content"])
    names = [imports_of(language, text.as_py() or "") if language in PARSERS else [] for language, text in texts]
    return without.append_column("imports", pa.array(names, pa.list_(pa.string())))


class Arrangement(NamedTuple):
    """How a corpus is put in order."""

    seed: int
    grouping: str
    file_order: str

    def order_in(self, dataset: str) -> str:
        """The order of files in the groups of a dataset: random where it is held out, so that its loss is of the same sequences."""
        return "random" if is_held_out(dataset) else self.file_order

    def order(self, table: pa.Table, dataset: str) -> Order:
        """Row numbers in the order of the output, of columns group, language, repository, path, id, and what `with_imports` adds.

        The order of the rows matters only to documents that are equal in all of these.
        """
        file_order = self.order_in(dataset)
        by_language = self.grouping == "repo-language" and not is_held_out(dataset)
        groups = _ranks_of_groups(table["group"], self.seed)
        languages = _ranks(table["language"]) if by_language else np.zeros(table.num_rows, np.int64)
        ties = document_keys(table, self.seed)
        if file_order == "random":
            return np.lexsort((ties, languages, groups))
        order = np.lexsort((ties, _ranks(table["path"]), languages, groups))
        if file_order == "path" or not len(order):
            return order
        borders = np.flatnonzero(np.diff(groups[order]) | np.diff(languages[order])) + 1
        return np.concatenate([_by_imports(table.take(pa.array(rows)), rows) for rows in np.split(order, borders)])


def _ranks(column: pa.ChunkedArray) -> Order:
    return np.unique(column.to_numpy().astype(object), return_inverse=True)[1].astype(np.int64)


def _ranks_of_groups(column: pa.ChunkedArray, seed: int) -> Order:
    names, numbers = np.unique(column.to_numpy().astype(object), return_inverse=True)
    keys = np.fromiter((order_of(seed, name) for name in names), np.uint64, len(names))
    ranks = np.empty(len(names), np.int64)
    ranks[np.argsort(keys, kind="stable")] = np.arange(len(names))
    return ranks[numbers]


def _by_imports(block: pa.Table, rows: Order) -> Order:
    """Rows of a block, which come by path: files that can import first, in the order of `import_order`, then the others."""
    parsed = np.array([language in PARSERS for language in block["language"].to_pylist()], bool)
    paths, imports = block["path"].to_pylist(), block["imports"].to_pylist()
    first = _distinct(paths, np.flatnonzero(parsed).tolist())
    ordered = [list(first.values())[number] for number in import_order(list(first), [imports[row] for row in first.values()])]
    return rows[np.array(_with_equals(ordered, paths, parsed) + np.flatnonzero(~parsed).tolist(), np.int64)]


def _distinct(paths: Sequence[str], numbers: Sequence[int]) -> dict[str, int]:
    """Each path with the first of its rows: a repository may be there in two versions."""
    first: dict[str, int] = {}
    for number in numbers:
        first.setdefault(paths[number], number)
    return first


def _with_equals(ordered: Sequence[int], paths: Sequence[str], parsed: NDArray[np.bool_]) -> list[int]:
    """Rows of the same path follow its first, as they do in the block."""
    rows: list[int] = []
    for number in ordered:
        following = number
        while following < len(paths) and parsed[following] and paths[following] == paths[number]:
            rows.append(following)
            following += 1
    return rows
