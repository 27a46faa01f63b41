"""The corpus stages as a run calls them: which tasks, over which files, into which folder.

Each returns the manifest of its output folder; what it prepares lies in the folder's `work/`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from megatron_snow.common.errors import UserError
from megatron_snow.common.records import Manifest, read_json
from megatron_snow.config import Corpus
from megatron_snow.corpus.collection import (
    cap_repositories,
    in_seeded_order,
    read_block,
    read_listing,
    write_listing,
)
from megatron_snow.corpus.decontamination import HITS, decontaminate_shard, read_needles
from megatron_snow.corpus.deduplication import cluster_documents, keep_survivors, sign_shard
from megatron_snow.corpus.filters import filter_shard
from megatron_snow.corpus.grouping import HELD_OUT, TRAINING, gather_shard, gathering_tasks, make_plan, partition_shard
from megatron_snow.corpus.selection import Room, Selection, next_round, select_blocks
from megatron_snow.corpus.sources import Part, list_parts
from megatron_snow.pipeline import Stage, Task, run_stage, tasks_by_shard
from megatron_snow.tasks import benchmark_path

WORK = "work"  # the sub-folder of what a stage prepares for itself


def collect(corpus: Corpus, seed: int, output: Path, workers: int = 1, executor: str = "pool") -> Manifest:
    """Sources to documents (paper 2.1, raw data): repositories in a seeded order until `corpus.max_bytes` of text."""
    started = time.monotonic()
    parts = in_seeded_order(list_parts(corpus.sources), seed, corpus.first_repositories)
    if not parts:
        raise UserError("corpus.sources: nothing to read there; name at least one source that holds source code")
    if not corpus.max_bytes:
        return _collect_all(corpus, parts, output, executor, workers)
    parts, dropped = cap_repositories(parts, round(corpus.max_repository_share * corpus.max_bytes), corpus.languages)
    limit = 0 if corpus.max_language_share >= 1 else round(corpus.max_language_share * corpus.max_bytes)
    selection = Selection(Room(corpus.max_bytes, limit), dropped)
    _read_until_full(corpus, write_listing(parts, output / WORK / "listing"), selection, output / WORK, executor, workers)
    selecting = Stage("collect", 1, select_blocks, {"max_bytes": corpus.max_bytes, "max_language_bytes": limit})
    return run_stage(selecting, selection.tasks(), output, executor=executor, workers=workers, started=started)


def _read_until_full(corpus: Corpus, listing: list[Path], selection: Selection, work: Path, executor: str, workers: int) -> None:
    """Read blocks round by round, each a stage in a folder of its own, until the selection is full."""
    room, position, number = selection.room, 0, 0
    while room.left and position < len(listing):
        new = listing[position : next_round(listing, position, room)]
        blocks = work / f"round-{number:03d}"
        tasks = [_reading_task(path, room.full_languages()) for path in new]
        run_stage(_reading(corpus), tasks, blocks, executor=executor, workers=workers)
        for path in new:
            selection.add(blocks / f"{path.stem}.parquet")
        position, number = position + len(new), number + 1
    selection.add_unread(listing[position:])
    for stale in sorted(work.glob("round-*"))[number:]:  # of a run with a larger limit
        shutil.rmtree(stale)


def _reading(corpus: Corpus) -> Stage:
    return Stage("collect: read", 1, read_block, {"max_file_bytes": corpus.max_file_bytes, "languages": sorted(corpus.languages)})


def _reading_task(path: Path, full_languages: Sequence[str] = ()) -> Task:
    return Task(path.stem, (path,), {"full": list(full_languages)}, size=sum(part.size for part in read_listing(path)))


def _collect_all(corpus: Corpus, parts: list[Part], output: Path, executor: str, workers: int) -> Manifest:
    """Without a limit nothing is chosen: each block is a shard."""
    listing = write_listing(parts, output / WORK / "listing")
    tasks = [_reading_task(path) for path in listing]
    return run_stage(_reading(corpus), tasks, output, executor=executor, workers=workers)


def filter_documents(corpus: Corpus, inputs: list[Path], output: Path, workers: int = 1, executor: str = "pool") -> Manifest:
    """Drop what StarCoder's rules drop."""
    stage = Stage("filter", 1, filter_shard, asdict(corpus.filters))
    return run_stage(stage, tasks_by_shard(inputs), output, executor=executor, workers=workers)


def deduplicate(corpus: Corpus, inputs: list[Path], output: Path, workers: int = 1, executor: str = "pool") -> Manifest:
    """Keep one document of each set of equal or nearly equal ones; `cluster_id` tells which set it was."""
    started = time.monotonic()
    work, near = output / WORK, corpus.near_duplicates
    shape = {"ngram": near.ngram, "bands": near.bands, "rows": near.rows}
    signing = Stage("deduplicate: sign", 1, sign_shard, shape)
    run_stage(signing, tasks_by_shard(inputs), work / "signatures", executor=executor, workers=workers)
    signed = [work / "signatures" / path.name for path in inputs]
    clustering = Stage("deduplicate: cluster", 1, cluster_documents, {**shape, "threshold": near.threshold})
    run_stage(clustering, [Task("clusters", (*signed, *inputs))], work / "clusters")
    keeping = Stage("deduplicate", 1, keep_survivors, asdict(near))
    tasks = tasks_by_shard(inputs, also=[work / "clusters" / "clusters.parquet"])
    return run_stage(keeping, tasks, output, executor=executor, workers=workers, started=started)


def decontaminate(corpus: Corpus, inputs: list[Path], output: Path, workers: int = 1, executor: str = "pool") -> Manifest:
    """Drop documents that hold text of a benchmark; SHARD.hits.jsonl beside each shard names every hit."""
    started = time.monotonic()
    benchmarks, ngram = corpus.decontamination.benchmarks, corpus.decontamination.ngram
    reading = Stage("decontaminate: needles", 2, read_needles, {"benchmarks": list(benchmarks), "ngram": ngram}, (".json",))
    needles = output / WORK / "needles"
    run_stage(reading, [Task("needles", tuple(benchmark_path(name) for name in benchmarks))], needles)
    stage = Stage("decontaminate", 2, decontaminate_shard, {"ngram": ngram}, (".parquet", HITS))
    tasks = tasks_by_shard(inputs, also=[needles / "needles.json"])
    return run_stage(stage, tasks, output, executor=executor, workers=workers, started=started)


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
