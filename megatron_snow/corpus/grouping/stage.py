"""The grouping stage: a plan, a partition of each shard, a gathering of each output."""

from __future__ import annotations

import time
from pathlib import Path

from megatron_snow.common.records import Manifest, read_json
from megatron_snow.config import Corpus
from megatron_snow.corpus.grouping.passes import HELD_OUT, TRAINING, gather_shard, gathering_tasks, make_plan, partition_shard
from megatron_snow.pipeline import INLINE, WORK, Execution, Stage, Task, run_stage, tasks_by_shard


def group(corpus: Corpus, seed: int, inputs: list[Path], training: Path, held_out: Path, execution: Execution = INLINE) -> Manifest:
    """Documents of a language and repository together (paper 2.1); held-out ones apart. The manifest of the training part."""
    started = time.monotonic()
    work = training / WORK
    parameters = {"seed": seed, "grouping": corpus.grouping}
    planning = Stage("group: plan", 1, make_plan, {**parameters, "held_out_share": corpus.held_out_share}, (".json",))
    run_stage(planning, [Task("plan", tuple(inputs))], work / "plan")
    plan = work / "plan" / "plan.json"
    run_stage(
        Stage("group: partition", 1, partition_shard, parameters),
        tasks_by_shard(inputs, also=[plan]),
        work / "partitions",
        execution,
    )
    gathering = Stage("group", 1, gather_shard, parameters)
    for part, folder in ((HELD_OUT, held_out), (TRAINING, training)):
        tasks = gathering_tasks(read_json(plan), part, [work / "partitions" / path.name for path in inputs])
        manifest = run_stage(gathering, tasks, folder, execution, started)
    return manifest
