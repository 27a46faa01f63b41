"""The corpus stages as a run calls them: which tasks, over which files, into which folder.

Each returns the manifest of its output folder; what it prepares lies in the folder's `work/`.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from megatron_snow.common.errors import UserError
from megatron_snow.common.records import Manifest, read_json
from megatron_snow.config import Corpus
from megatron_snow.corpus.collection import (
    cap_repositories,
    in_seeded_order,
    read_block,
    write_listing,
)
from megatron_snow.corpus.filters import filter_shard
from megatron_snow.corpus.grouping import HELD_OUT, TRAINING, gather_shard, gathering_tasks, make_plan, partition_shard
from megatron_snow.corpus.selection import Room, Selection, next_round, select_blocks
from megatron_snow.corpus.sources import Part, list_parts
from megatron_snow.pipeline import Stage, Task, run_stage, tasks_by_shard

WORK = "work"  # the sub-folder of what a stage prepares for itself


def collect(corpus: Corpus, seed: int, output: Path, workers: int = 1, executor: str = "pool") -> Manifest:
    """Sources to documents (paper 2.1, raw data): repositories in a seeded order until `corpus.max_bytes` of text."""
    started = time.monotonic()
    parts = in_seeded_order(list_parts(corpus.sources), seed, corpus.first_repositories)
    if not parts:
        raise UserError("corpus.sources: nothing to read there; name at least one source that holds source code")
    if not corpus.max_bytes:
        return _collect_all(corpus, parts, output, executor, workers)
    parts, dropped = cap_repositories(parts, round(corpus.max_repository_share * corpus.max_bytes))
    listing = write_listing(parts, output / WORK / "listing")
    reading = _reading(corpus)
    limit = 0 if corpus.max_language_share >= 1 else round(corpus.max_language_share * corpus.max_bytes)
    room, tasks = Room(corpus.max_bytes, limit), list[Task]()
    selection = Selection(room, dropped)
    blocks = output / WORK / "blocks"
    while room.left and len(tasks) < len(listing):
        new = listing[len(tasks) : next_round(listing, len(tasks), room)]
        tasks += [Task(path.stem, (path,), {"full": room.full_languages()}) for path in new]
        run_stage(reading, tasks, blocks, executor=executor, workers=workers)
        for path in new:
            selection.add(blocks / f"{path.stem}.parquet")
    selection.add_unread(listing[len(tasks) :])
    selecting = Stage("collect", 1, select_blocks, {"max_bytes": room.max_bytes, "max_language_bytes": room.max_language_bytes})
    return run_stage(selecting, selection.tasks(), output, executor=executor, workers=workers, started=started)


def _reading(corpus: Corpus) -> Stage:
    return Stage("collect", 1, read_block, {"max_file_bytes": corpus.max_file_bytes, "languages": sorted(corpus.languages)})


def _collect_all(corpus: Corpus, parts: list[Part], output: Path, executor: str, workers: int) -> Manifest:
    """Without a limit nothing is chosen: each block is a shard."""
    listing = write_listing(parts, output / WORK / "listing")
    tasks = [Task(path.stem, (path,), {"full": []}) for path in listing]
    return run_stage(_reading(corpus), tasks, output, executor=executor, workers=workers)


def filter_documents(corpus: Corpus, inputs: list[Path], output: Path, workers: int = 1, executor: str = "pool") -> Manifest:
    """Drop what StarCoder's rules drop."""
    stage = Stage("filter", 1, filter_shard, asdict(corpus.filters))
    return run_stage(stage, tasks_by_shard(inputs), output, executor=executor, workers=workers)


def group(
    corpus: Corpus, seed: int, inputs: list[Path], training: Path, held_out: Path, workers: int = 1, executor: str = "pool"
) -> Manifest:
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
        executor=executor,
        workers=workers,
    )
    gathering = Stage("group", 1, gather_shard, parameters)
    for part, folder in ((HELD_OUT, held_out), (TRAINING, training)):
        tasks = gathering_tasks(read_json(plan), part, [work / "partitions" / path.name for path in inputs])
        manifest = run_stage(gathering, tasks, folder, executor=executor, workers=workers, started=started)
    return manifest
