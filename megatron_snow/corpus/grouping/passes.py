"""Documents that belong together, next to each other (paper 2.1 and Table 3).

`language-repo` is the paper's: by language, then by repository, the files of a group in random order.
`repo` is its ablation (languages mixed); `file` makes each file a group of its own. Groups follow
each other in a seeded order. Held-out documents are the same under every grouping, by language.

Three passes, each a task a shard: a plan from the columns alone; a partition of each input shard into
row groups by output; a gathering of each output's row groups. Memory is bounded by a shard.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from megatron_snow.common.checksums import text_digest
from megatron_snow.common.files import beside
from megatron_snow.common.records import read_json, write_json
from megatron_snow.config import file_name_of
from megatron_snow.corpus.counting import Tally
from megatron_snow.corpus.grouping.held_out import hold_out, unit_of
from megatron_snow.pipeline import SHARD_BYTES, Task, read_table, write_table

TRAINING, HELD_OUT = "training", "held_out"
MIXED = "all"  # the dataset of a grouping that mixes languages
_COLUMNS = ("repository", "path", "id", "size", "language")
_Row = tuple[str, str, str, int, str]


def group_of(grouping: str, language: str, repository: str, path: str) -> tuple[str, str]:
    """(dataset, group) of a document: ("Python", "Python/python:numpy") by language and repository."""
    if grouping == "repo":
        return MIXED, repository
    group = f"{language}/{repository}"
    return language, group if grouping == "language-repo" else f"{group}/{path}"


def make_plan(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: what is held out, and where each dataset is cut into shards, from all documents without their text."""
    by_language: dict[str, list[_Row]] = defaultdict(list)
    for path in inputs:
        for row in _rows(read_table(path, _COLUMNS)):
            by_language[row[4]].append(row)
    seed, share = parameters["seed"], parameters["held_out_share"]
    held_out = {language: hold_out((row[:4] for row in rows), share, seed, language) for language, rows in by_language.items()}
    plan: dict[str, Any] = {"held_out": {language: vars(chosen) for language, chosen in sorted(held_out.items())}}
    sizes: dict[str, Counter[str]] = defaultdict(Counter)  # dataset -> digest of the group -> bytes
    for row in (row for rows in by_language.values() for row in rows):
        dataset, group = _place(row, plan, parameters["grouping"])
        sizes[dataset][_order(seed, group)] += row[3]
    plan["cuts"] = {dataset: _cuts(groups) for dataset, groups in sorted(sizes.items())}
    write_json(beside(prefix, ".json"), plan)
    return {}


def _rows(table: pa.Table) -> Iterator[_Row]:
    return zip(*(table[name].to_pylist() for name in _COLUMNS))


def _place(row: _Row, plan: Mapping[str, Any], grouping: str) -> tuple[str, str]:
    """(dataset with its part of the corpus: "training/Python", group) of a document."""
    repository, path, id, _, language = row
    held_out = plan["held_out"][language]
    if unit_of(held_out["level"], repository, path, id) in held_out["units"]:
        return f"{HELD_OUT}/{file_name_of(language)}", f"{language}/{repository}"
    dataset, group = group_of(grouping, language, repository, path)
    return f"{TRAINING}/{file_name_of(dataset)}", group


def _order(seed: int, name: str) -> str:
    return text_digest(f"{seed}:{name}")


def _cuts(groups: Mapping[str, int]) -> list[str]:
    """The first group's digest of each shard of about SHARD_BYTES; a group is never cut."""
    cuts: list[str] = []
    size = 0
    for digest in sorted(groups):
        if not cuts or size >= SHARD_BYTES:
            cuts.append(digest)
            size = 0
        size += groups[digest]
    return cuts


def partition_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: a shard's documents with their group, place in the order and output; one row group an output."""
    shard, plan_path = inputs
    plan, table = read_json(plan_path), read_table(shard)
    for held_out in plan["held_out"].values():
        held_out["units"] = frozenset(held_out["units"])
    outputs, groups, orders = [], [], []
    for row in _rows(table):
        dataset, group = _place(row, plan, parameters["grouping"])
        first = _order(parameters["seed"], group)
        outputs.append(f"{dataset}-{bisect_right(plan['cuts'][dataset], first) - 1:05d}")
        groups.append(group)
        orders.append(first + _order(parameters["seed"], f"{row[0]}/{row[1]}#{row[2]}"))
    table = table.append_column("group", pa.array(groups, pa.string()))
    table = table.append_column("order", pa.array(orders, pa.string())).append_column("output", pa.array(outputs, pa.string()))
    with pq.ParquetWriter(beside(prefix, ".parquet"), table.schema, compression="zstd", compression_level=3) as writer:
        for output in sorted(set(outputs)):
            writer.write_table(table.filter(pa.compute.equal(table["output"], output)), row_group_size=len(outputs))
    return {}


def gathering_tasks(plan: Mapping[str, Any], part: str, partitions: Sequence[Path]) -> list[Task]:
    """A task for each shard of one part (TRAINING or HELD_OUT) of the corpus."""
    datasets = [(dataset, len(cuts)) for dataset, cuts in plan["cuts"].items() if dataset.startswith(f"{part}/")]
    names = [f"{dataset}-{number:05d}" for dataset, count in datasets for number in range(count)]
    return [Task(name.partition("/")[2], tuple(partitions), {"output": name}, SHARD_BYTES) for name in names]


def gather_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: one output's documents from all partitions, in their order."""
    tables = [table for path in inputs for table in _row_groups_of(path, parameters["output"])]
    table = pa.concat_tables(tables).sort_by("order").drop_columns(["order", "output"])
    write_table(table, beside(prefix, ".parquet"))
    tally = Tally(groups=len(set(table["group"].to_pylist())))
    for language, size in zip(table["language"].to_pylist(), table["size"].to_pylist()):
        tally.keep(language, size)
    return tally


def _row_groups_of(path: Path, output: str) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        column = file.schema_arrow.names.index("output")
        for number in range(file.num_row_groups):
            if file.metadata.row_group(number).column(column).statistics.min == output:
                yield file.read_row_group(number)
