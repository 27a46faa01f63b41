"""The shuffle: every input is parted by output, every output gathered from all parts, in order.

Memory of a task: a partition holds memory_bytes / 3 of text at a time and once more to sort it, a gathering one shard
(two of SHARD_BYTES at most, or one document).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from megatron_snow.common.files import beside
from megatron_snow.common.records import read_json, write_json
from megatron_snow.common.splits import SPLIT_BY
from megatron_snow.corpus.counting import Tally
from megatron_snow.corpus.grouping.cuts import Router
from megatron_snow.corpus.grouping.headers import HEADER, headers_of
from megatron_snow.corpus.grouping.large import Ranks
from megatron_snow.corpus.grouping.ordering import Arrangement, document_keys, with_imports
from megatron_snow.corpus.grouping.placement import Placer, facts_of, held_out_place, is_held_out, order_of
from megatron_snow.corpus.grouping.runs import RunsWriter, read_runs
from megatron_snow.pipeline import DOCUMENT, RECORD, SHARD_BYTES, Task, batches_of, read_table, write_table

RUNS = ".runs"
_ADDED = ("group", HEADER, "rank")  # by this stage; an input that has been through it has them


def partition(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: plan, what is held out, ranks of large groups, then shards -> their documents by output, with group and rank.

    Parameters: seed, grouping, memory_bytes, ranks (how many files), pieces (number of the shard, piece of it).
    """
    plan, held_out, *rest = inputs
    ranks, shards = Ranks(rest[: parameters["ranks"]]), rest[parameters["ranks"] :]
    placer, router = Placer(parameters["grouping"], read_table(held_out)), Router(read_json(plan)["cuts"])
    with RunsWriter(beside(prefix, RUNS), len(router.names), parameters["memory_bytes"] // 3) as runs:
        for shard, piece in parameters["pieces"]:
            for batch in batches_of(shards[shard], None, piece):
                runs.write(*_part(batch, placer, router, ranks, parameters["seed"]))
    return {}


def _part(batch: pa.Table, placer: Placer, router: Router, ranks: Ranks, seed: int) -> tuple[pa.Table, NDArray[np.int64]]:
    facts = facts_of(batch)
    places, numbers = placer.place(facts)
    routes = [router.output_of(place.dataset, order_of(seed, place.group)) for place in places]
    first, parts = np.array(routes or [(0, 0)], np.int64)[numbers].T if len(facts) else np.zeros((2, 0), np.int64)
    rank, outputs = np.full(len(facts), -1, np.int64), first.copy()
    large = np.flatnonzero(parts > 1)
    if len(large):
        rank[large], part = ranks.find(document_keys(facts.take(pa.array(large)), seed))
        outputs[large] += part
    group = pa.array([place.group for place in places], pa.string()).take(pa.array(numbers))
    kept = batch.drop_columns([name for name in _ADDED if name in batch.column_names])
    return kept.append_column("group", group).append_column("rank", pa.array(rank)), outputs


def list_partitions(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: names and digests of all partitions in one file, so that an output does not name them all as its inputs."""
    records = [path.with_name(path.name.removesuffix(RUNS) + RECORD) for path in inputs]
    write_json(
        beside(prefix, ".json"), {path.name: read_json(record)["outputs"][path.name]["digest"] for path, record in zip(inputs, records)}
    )
    return {}


def gathering_tasks(plan: Path, listing: Path, part: str) -> list[Task]:
    """A task for each shard of one part (TRAINING or one of SPLITS) of the corpus. A dataset's first one notes what is finer split."""
    settings, tasks = read_json(plan), []
    finer: dict[str, dict[str, int]] = {}
    for split, language, level, repositories in settings["finer"]:
        finer.setdefault(held_out_place(split, language, "").dataset, {})[f"{SPLIT_BY}{level}:{language}"] = repositories
    for number, name in enumerate(Router(settings["cuts"]).names):
        dataset = name.rpartition("-")[0]
        if dataset.startswith(f"{part}/"):
            parameters = {"output": number, "dataset": dataset, "notes": finer.pop(dataset, {})}
            tasks.append(Task(name.partition("/")[2], (listing,), parameters, SHARD_BYTES))
    return tasks


def gather(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: the listing of the partitions, which lie in its sibling "partitions" -> one output's documents in order.

    Parameters: seed, grouping, file_order, header_share, dataset, output (its number), notes (counts that go into the manifest).
    """
    table = _sorted_documents(inputs[0], parameters)
    groups, rank = table["group"].to_numpy(), table["rank"].to_numpy()
    first = np.concatenate([[True], groups[1:] != groups[:-1]])[: len(table)] & (rank < 1)
    share = 0.0 if is_held_out(parameters["dataset"]) else parameters["header_share"]
    added = headers_of(table, first, share, parameters["seed"])
    others = sorted(set(table.column_names) - {*DOCUMENT.names, "group", "rank"})  # whatever the order of the inputs
    table = table.select([*DOCUMENT.names, *others, "group"]).append_column(HEADER, added)
    write_table(table, beside(prefix, ".parquet"))
    return _tally(table, int(first.sum())) | parameters["notes"]


def _sorted_documents(listing: Path, parameters: Mapping[str, Any]) -> pa.Table:
    folder = listing.parent.with_name("partitions")
    tables = [table for name in read_json(listing) for table in read_runs(folder / name, parameters["output"])]
    table = pa.concat_tables(tables, promote_options="default") if tables else _nothing()
    arrangement = Arrangement(parameters["seed"], parameters["grouping"], parameters["file_order"])
    return table.take(pa.array(_order(table, arrangement, parameters["dataset"])))


def _nothing() -> pa.Table:
    return pa.schema([*DOCUMENT, ("group", pa.string()), ("rank", pa.int64())]).empty_table()


def _order(table: pa.Table, arrangement: Arrangement, dataset: str) -> NDArray[np.int64]:
    columns = ["language", "repository", "path", "id", "group"]
    rank = table["rank"].to_numpy()
    if (rank >= 0).any():  # a part of a large group, which knows its order
        return np.lexsort((document_keys(facts_of(table, columns), arrangement.seed), rank))
    file_order = arrangement.order_in(dataset)
    facts = facts_of(table, [*columns, "content"] if file_order == "imports" else columns)
    return arrangement.order(with_imports(facts, file_order), dataset)


def _tally(table: pa.Table, groups: int) -> Tally:
    tally = Tally(groups=groups)
    facts = pa.table({"language": pc.fill_null(table["language"], ""), "size": table["size"]})
    sums = facts.group_by("language").aggregate([("size", "count"), ("size", "sum")])
    for language, count, size in zip(*(sums[name].to_pylist() for name in ("language", "size_count", "size_sum"))):
        tally.add("", language, count, size)
    return tally
