"""Groups larger than a shard: each of their documents gets its rank, and with it the shard, before any text is moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from megatron_snow.common.files import beside
from megatron_snow.common.records import read_json
from megatron_snow.corpus.grouping.cuts import Router
from megatron_snow.corpus.grouping.ordering import Arrangement, document_keys, with_imports
from megatron_snow.corpus.grouping.placement import FACTS, Placer, facts_of, order_of
from megatron_snow.pipeline import batches_of, read_table, write_table

RANKS = pa.schema([("key", pa.uint64()), ("rank", pa.int64()), ("part", pa.int64())])


def rank_large_groups(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: plan, what is held out, then shards -> key (document_keys), rank in its group and number of the shard of each document.

    Parameters: seed, grouping, file_order, groups (dataset, place), repositories, pieces (number of the shard, piece).
    """
    plan_path, held_out, *shards = inputs
    arrangement = Arrangement(parameters["seed"], parameters["grouping"], parameters["file_order"])
    wanted = {(dataset, order) for dataset, order in parameters["groups"]}
    placer, names = Placer(parameters["grouping"], read_table(held_out)), pa.array(parameters["repositories"], pa.string())
    columns = (*FACTS, "content") if arrangement.file_order == "imports" else FACTS
    tables = []
    for shard, piece in parameters["pieces"]:
        for batch in batches_of(shards[shard], columns, piece):
            facts = facts_of(batch.filter(pc.is_in(batch["repository"], names)), columns)
            tables.append(with_imports(_in_groups(facts, placer, wanted, arrangement.seed), arrangement.file_order))
    write_table(_ranks(pa.concat_tables(tables), arrangement, Router(read_json(plan_path)["cuts"])), beside(prefix, ".parquet"))
    return {}


def _in_groups(facts: pa.Table, placer: Placer, wanted: set[tuple[str, int]], seed: int) -> pa.Table:
    """The documents of some groups, with columns dataset and group."""
    places, numbers = placer.place(facts)
    rows = np.array([(place.dataset, order_of(seed, place.group)) in wanted for place in places], bool)[numbers]
    for column, name in enumerate(("dataset", "group")):
        values = pa.array([place[column] for place in places], pa.string())
        facts = facts.append_column(name, values.take(pa.array(numbers)))
    return facts.filter(pa.array(rows))


def _ranks(documents: pa.Table, arrangement: Arrangement, router: Router) -> pa.Table:
    tables = [RANKS.empty_table()]
    for dataset in pc.unique(documents["dataset"]).to_pylist():
        rows = documents.filter(pc.equal(documents["dataset"], dataset))
        rows = rows.take(pa.array(arrangement.order(rows, dataset)))
        keys, sizes, groups = document_keys(rows, arrangement.seed), rows["size"].to_numpy(), rows["group"].to_numpy()
        borders = [0, *(np.flatnonzero(groups[1:] != groups[:-1]) + 1).tolist(), len(rows)]
        for start, stop in pairwise(borders):
            parts = router.output_of(dataset, order_of(arrangement.seed, groups[start]))[1]
            columns = (keys[start:stop], np.arange(stop - start), _parts(sizes[start:stop], parts))
            tables.append(pa.table([pa.array(column) for column in columns], schema=RANKS))
    return pa.concat_tables(tables).sort_by("key")


def _parts(sizes: NDArray[np.int64], parts: int) -> NDArray[np.int64]:
    """The shard of each document: equal parts of the bytes, by where it begins."""
    starts = np.cumsum(sizes) - sizes
    return np.minimum(parts - 1, starts * parts // max(1, int(sizes.sum())))


class Ranks:
    """Ranks and parts of all documents of large groups, looked up by key; 24 bytes of memory each."""

    def __init__(self, paths: Sequence[Path]) -> None:
        table = pa.concat_tables([RANKS.empty_table(), *(read_table(path) for path in paths)]).sort_by("key")
        self._keys, self._ranks, self._parts = (table[name].to_numpy() for name in RANKS.names)

    def find(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(rank, part) of each key, (-1, 0) where there is none."""
        rows = np.minimum(np.searchsorted(self._keys, keys), max(0, len(self._keys) - 1))
        if not len(self._keys):
            return np.full(len(keys), -1, np.int64), np.zeros(len(keys), np.int64)
        found = self._keys[rows] == keys
        return np.where(found, self._ranks[rows], -1), np.where(found, self._parts[rows], 0)
