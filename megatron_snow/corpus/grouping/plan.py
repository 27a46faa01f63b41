"""The plan of the shuffle, from sums by (language, repository): what is held out, where datasets are cut, what each task reads.

Memory: some 100 bytes a (language, repository) pair, whatever the number of documents, and a dict of the documents of
one language at a time where it lives in too few repositories to hold whole ones out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from megatron_snow.common.files import beside
from megatron_snow.common.records import write_json
from megatron_snow.corpus.grouping.cuts import cuts_of, even_cuts
from megatron_snow.corpus.grouping.held_out import UNIT_TABLE, HeldOut, hold_out
from megatron_snow.corpus.grouping.placement import SPLITS, dataset_of, held_out_place, order_of, training_place
from megatron_snow.corpus.grouping.survey import PAIR, SURVEY, by_language, finer_units, sums
from megatron_snow.pipeline import SHARD_BYTES, Piece, read_table, write_table

HELD_OUT_FILE = ".held_out.parquet"
HELD_OUT = pa.schema([("split", pa.string()), ("language", pa.string()), ("level", pa.string()), *UNIT_TABLE])
_BYTES_A_DOCUMENT = 1000  # of memory, while the files of large groups are put in order: path, id, imports, their graph
_MOST_PARTITIONS = 64  # of a corpus that fits into memory: enough tasks for the workers of one machine


class _Groups(NamedTuple):
    """Groups of one dataset: places in the order, bytes, documents, and the repositories that they are of."""

    dataset: str
    orders: NDArray[np.uint64]
    bytes: NDArray[np.int64]
    documents: NDArray[np.int64]
    repositories: pa.ChunkedArray


def make_plan(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: the surveys of all pieces, then all shards -> the plan (.json) and what is held out (.held_out.parquet).

    Parameters: pieces, a (number of the shard, piece of it) a survey; seed, grouping, held_out_share, test_share, memory_bytes.
    """
    count = len(parameters["pieces"])
    surveys = [read_table(path) for path in inputs[:count]]
    pieces = [(inputs[count + shard], piece) for shard, piece in parameters["pieces"]]
    units = sums(pa.concat_tables([SURVEY.empty_table(), *surveys]), PAIR)
    held_out = _hold_out(units, surveys, pieces, parameters)
    held_sums = sums(held_out.select(SURVEY.names), PAIR)
    groups = [*_training(_without(units, held_sums), parameters), *_held_out(held_out, parameters["seed"])]
    plan = {
        "cuts": _cut(groups, _without(units, held_sums), parameters),
        "finer": _finer_splits(held_out, units),
        "large": _large(groups, surveys, parameters["memory_bytes"]),
        "batches": _batches([int(np.sum(survey["bytes"].to_numpy())) for survey in surveys], parameters["memory_bytes"]),
    }
    write_json(beside(prefix, ".json"), plan)
    write_table(held_out, beside(prefix, HELD_OUT_FILE))
    return {}


def _hold_out(
    units: pa.Table, surveys: Sequence[pa.Table], pieces: Sequence[tuple[Path, Piece]], parameters: Mapping[str, Any]
) -> pa.Table:
    """What is held out of all languages, in the columns of HELD_OUT. What the test takes does not change the rest."""
    tables = [HELD_OUT.empty_table()]
    for language, rows in by_language(units):
        repositories = pa.table([rows["repository"], rows["repository"], rows["documents"], rows["bytes"]], schema=UNIT_TABLE)
        finer = partial(_finer, language, surveys, pieces)
        taken: HeldOut | None = None
        for split in SPLITS:
            share = parameters[f"{split}_share"]
            taken = hold_out(repositories, finer, share, parameters["seed"], language, split=split, taken=taken)
            names = [pa.array([name] * len(taken.units), pa.string()) for name in (split, language, taken.level)]
            tables.append(pa.table([*names, *taken.units.columns], schema=HELD_OUT))
    return pa.concat_tables(tables)


def _finer_splits(held_out: pa.Table, units: pa.Table) -> list[list[Any]]:
    """(split, language, level, repositories of the language) where not whole repositories are held out."""
    repositories = dict(zip(*(column.to_pylist() for column in units.group_by("language").aggregate([("repository", "count")]).columns)))
    found = held_out.filter(pc.not_equal(held_out["level"], "repository")).group_by(["split", "language", "level"]).aggregate([])
    return sorted(
        [split, language, level, repositories[language]] for split, language, level in zip(*(c.to_pylist() for c in found.columns))
    )


def _finer(language: str, surveys: Sequence[pa.Table], pieces: Sequence[tuple[Path, Piece]], level: str, taken: HeldOut | None) -> pa.Table:
    there = [piece for piece, survey in zip(pieces, surveys) if pc.any(pc.equal(survey["language"], language)).as_py()]
    return finer_units(language, level, taken, there)


def _without(units: pa.Table, held_out: pa.Table) -> pa.Table:
    """What is left of each (language, repository) for training."""
    names = [pc.binary_join_element_wise(table["language"], table["repository"], "\x00") for table in (units, held_out)]
    where = pc.index_in(names[0], names[1]).combine_chunks()
    left = {name: pc.subtract(units[name], pc.fill_null(held_out[name].combine_chunks().take(where), 0)) for name in ("documents", "bytes")}
    table = pa.table({"language": units["language"], "repository": units["repository"], **left})
    return table.filter(pc.greater(table["documents"], 0))


def _training(units: pa.Table, parameters: Mapping[str, Any]) -> Iterator[_Groups]:
    seed, grouping = parameters["seed"], parameters["grouping"]
    if grouping == "file":
        return
    parts = by_language(units) if grouping == "language-repo" else [("", sums(units, ["repository"]))]
    for language, rows in parts:
        if len(rows):
            names = (training_place(grouping, language, name.as_py()).group for name in rows["repository"])
            yield _groups(dataset_of(grouping, language), names, rows, seed)


def _held_out(held_out: pa.Table, seed: int) -> Iterator[_Groups]:
    for split in SPLITS:
        for language, rows in by_language(sums(held_out.filter(pc.equal(held_out["split"], split)), PAIR)):
            places = [held_out_place(split, language, name.as_py()) for name in rows["repository"]]
            yield _groups(places[0].dataset, (place.group for place in places), rows, seed)


def _groups(dataset: str, names: Iterator[str], rows: pa.Table, seed: int) -> _Groups:
    orders = np.fromiter((order_of(seed, name) for name in names), np.uint64, len(rows))
    return _Groups(dataset, orders, rows["bytes"].to_numpy(), rows["documents"].to_numpy(), rows["repository"])


def _cut(groups: Sequence[_Groups], training: pa.Table, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """(first, parts) of the cuts of each dataset; two languages may share the name of a dataset's files."""
    datasets = dict.fromkeys(part.dataset for part in groups)
    cuts: dict[str, Any] = {
        dataset: cuts_of(*(np.concatenate([part[column] for part in groups if part.dataset == dataset]) for column in (1, 2)))
        for dataset in datasets
    }
    if parameters["grouping"] == "file":
        totals: dict[str, NDArray[np.int64]] = {}
        for language, rows in by_language(training):
            dataset = dataset_of("file", language)
            both = np.array([rows["bytes"].to_numpy().sum(), rows["documents"].to_numpy().sum()])
            totals[dataset] = totals.get(dataset, np.zeros(2, np.int64)) + both
        cuts |= {dataset: even_cuts(*both.tolist()) for dataset, both in totals.items()}
    return dict(sorted(cuts.items()))


def _large(groups: Sequence[_Groups], surveys: Sequence[pa.Table], memory: int) -> list[dict[str, Any]]:
    """Groups of more than a shard, as many together as fit into memory without their text, and the pieces that have them."""
    found = [(part, int(row)) for part in groups for row in np.flatnonzero(part.bytes > SHARD_BYTES)]
    tasks: list[dict[str, Any]] = []
    room = 0
    for part, row in found:
        need = int(part.documents[row]) * _BYTES_A_DOCUMENT
        if not tasks or need > room:
            tasks.append({"groups": [], "repositories": []})
            room = memory
        room -= need
        tasks[-1]["groups"].append([part.dataset, int(part.orders[row])])
        tasks[-1]["repositories"].append(part.repositories[row].as_py())
    for task in tasks:
        names = pa.array(sorted(set(task["repositories"])), pa.string())
        task["repositories"] = names.to_pylist()
        task["pieces"] = [n for n, survey in enumerate(surveys) if pc.any(pc.is_in(survey["repository"], names)).as_py()]
    return tasks


def _batches(sizes: Sequence[int], memory: int) -> list[list[int]]:
    """Numbers of the pieces that one task of the partition reads: as much text as it may hold, for long runs."""
    most = min(memory // 4, max(SHARD_BYTES, sum(sizes) // _MOST_PARTITIONS))
    batches: list[list[int]] = []
    room = 0
    for number, size in enumerate(sizes):
        if not batches or size > room:
            batches.append([])
            room = most
        batches[-1].append(number)
        room -= size
    return batches
