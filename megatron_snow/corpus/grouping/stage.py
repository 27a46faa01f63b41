"""The grouping stage: survey, plan, ranks of large groups, partition, gathering. Nothing is dropped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from megatron_snow.common.records import Manifest, read_json
from megatron_snow.config import Corpus
from megatron_snow.corpus.grouping.large import rank_large_groups
from megatron_snow.corpus.grouping.passes import RUNS, gather, gathering_tasks, list_partitions, partition
from megatron_snow.corpus.grouping.placement import HELD_OUT, TEST, TRAINING
from megatron_snow.corpus.grouping.plan import HELD_OUT_FILE, make_plan
from megatron_snow.corpus.grouping.survey import survey_shard
from megatron_snow.pipeline import INLINE, WORK, Execution, Stage, Task, run_stage, tasks_by_shard


def group(
    corpus: Corpus, seed: int, inputs: list[Path], training: Path, held_out: Path, execution: Execution = INLINE, test: Path | None = None
) -> Manifest:
    """Documents of a language and repository together (paper 2.1); held-out ones apart. The manifest of the training part.

    `test`: the folder of the test split, by default a sibling of `held_out`; without corpus.test_share it is not made, and emptied
    where it is given and there.

    Shards DATASET-00000.parquet, ..., in which a group's documents follow each other (from one shard to the next where it is
    larger than one), with columns `group` and `header`. They do not depend on the order or size of the input shards.
    """
    started = time.monotonic()
    work, common = training / WORK, {"seed": seed, "grouping": corpus.grouping}
    surveys = tasks_by_shard(inputs)
    run_stage(Stage("group: survey", 2, survey_shard), surveys, work / "survey", execution)
    numbers = {path: number for number, path in enumerate(inputs)}
    pieces = [[numbers[task.inputs[0]], task.parameters.get("piece")] for task in surveys]
    sums = [work / "survey" / f"{task.name}.parquet" for task in surveys]
    settings = {
        **common,
        "held_out_share": corpus.held_out_share,
        "test_share": corpus.test_share,
        "memory_bytes": corpus.memory_bytes,
        "pieces": pieces,
    }
    planning = Stage("group: plan", 3, make_plan, settings, (".json", HELD_OUT_FILE))
    run_stage(planning, [Task("plan", (*sums, *inputs))], work / "plan", execution)
    listing = _partition(corpus, common, inputs, pieces, work, execution)
    order = {**common, "file_order": corpus.file_order, "header_share": corpus.header_share}
    parts = {HELD_OUT: held_out}
    if corpus.test_share or (test is not None and test.is_dir()):
        parts[TEST] = test or held_out.with_name("test")
    for part, folder in (*parts.items(), (TRAINING, training)):
        tasks = gathering_tasks(work / "plan" / "plan.json", listing, part)
        manifest = run_stage(Stage("group", 3, gather, order), tasks, folder, execution, started)
    return manifest


def _partition(
    corpus: Corpus, common: dict[str, Any], inputs: Sequence[Path], pieces: Sequence[list[Any]], work: Path, execution: Execution
) -> Path:
    """Rank large groups, part the inputs by output; the listing of the partitions."""
    plan_path, held_out = work / "plan" / "plan.json", work / "plan" / f"plan{HELD_OUT_FILE}"
    plan = read_json(plan_path)

    def task(number: int, also: Sequence[Path], chosen: Sequence[int], parameters: dict[str, Any]) -> Task:
        shards = sorted({pieces[piece][0] for piece in chosen})
        there = [[shards.index(pieces[piece][0]), pieces[piece][1]] for piece in chosen]
        return Task(f"{number:05d}", (plan_path, held_out, *also, *(inputs[shard] for shard in shards)), {**parameters, "pieces": there})

    large = [task(n, [], x["pieces"], {"groups": x["groups"], "repositories": x["repositories"]}) for n, x in enumerate(plan["large"])]
    ranking = Stage("group: rank", 3, rank_large_groups, {**common, "file_order": corpus.file_order})
    if large:
        run_stage(ranking, large, work / "ranks", execution)
    ranks = [work / "ranks" / f"{one.name}.parquet" for one in large]
    parting = Stage("group: partition", 3, partition, {**common, "memory_bytes": corpus.memory_bytes, "ranks": len(ranks)}, (RUNS,))
    parts = [task(number, ranks, chosen, {}) for number, chosen in enumerate(plan["batches"])]
    run_stage(parting, parts, work / "partitions", execution)
    runs = tuple(work / "partitions" / f"{one.name}{RUNS}" for one in parts)
    run_stage(Stage("group: list", 2, list_partitions, suffixes=(".json",)), [Task("partitions", runs)], work / "listing", execution)
    return work / "listing" / "partitions.json"
