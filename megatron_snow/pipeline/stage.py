"""A stage is tasks over files; each commits by rename and a record; the manifest commits the stage."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from megatron_snow.common.checksums import value_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.explain import WouldRun
from megatron_snow.common.files import beside
from megatron_snow.common.progress import progress_bar
from megatron_snow.common.records import MANIFEST, Manifest, read_json, read_manifest
from megatron_snow.pipeline.executors import INLINE, Execution, check_executor, execute
from megatron_snow.pipeline.explain import reason_to_run
from megatron_snow.pipeline.folders import RECORD, check_folder, claim, folder_of_ours, remove_strangers
from megatron_snow.pipeline.shards import pieces_of
from megatron_snow.pipeline.tasks import Prepared, Stage, Task, input_digest, is_done, made_from, run_task

_ENDINGS = re.compile(r"\.(jsonl?\.)?\w+$")  # earlier points belong to the name: "ASP.NET-00000"


def tasks_by_shard(shards: Sequence[Path], *, also: Sequence[Path] = ()) -> list[Task]:
    """One task a shard, with the shard's name; each also reads the files `also`. A large file gives a task a piece.

    The parameter "piece" says what of its first input a task reads (`batches_of`).
    """
    tasks = []
    for shard in shards:
        name, pieces = _ENDINGS.sub("", shard.name), pieces_of(shard)
        for number, piece in enumerate(pieces):
            size = shard.stat().st_size // len(pieces) if shard.is_file() else 0
            suffix = f"-{number:05d}" if len(pieces) > 1 else ""
            tasks.append(Task(name + suffix, (shard, *also), {"piece": piece} if piece else {}, size))
    return tasks


def run_stage(stage: Stage, tasks: Sequence[Task], output: Path, execution: Execution = INLINE, started: float | None = None) -> Manifest:
    """Run what is not yet done, remove what is not part of the result, write the manifest, return it.

    A task is done when its record holds its key and its files have the recorded sizes. The key is a
    digest of the stage's name and version, all parameters and the digests of the inputs, never of
    executor, machine or time. `started` (time.monotonic()) is when the work began, where earlier
    stages prepared it. UserError where another run writes into the folder; WouldRun under --explain.
    """
    start = time.monotonic() if started is None else started
    check_executor(execution)
    _check_names(tasks)
    check_folder(stage.name, [path for task in tasks for path in task.inputs], stage.suffixes, output)
    prepared = _prepared(stage, tasks)
    key = value_digest([stage.name, stage.version, {one.task.name: one.key for one in prepared}])
    waiting, finished = _not_done(prepared, output, stage), read_manifest(output)
    if not waiting and finished is not None and finished.key == key:
        return finished
    if execution.explains:
        raise WouldRun(f"stage {stage.name!r}", output, _reasons(stage, waiting, output))
    with folder_of_ours(output):
        claim(stage.name, output)
        (output / MANIFEST).unlink(missing_ok=True)
        _run_tasks(stage, prepared, output, execution)
        return _write_manifest(stage, key, tasks, output, time.monotonic() - start)


def unfinished(stage: Stage, tasks: Sequence[Task], output: Path) -> list[Task]:
    """The tasks that `run_stage` would run: for a stage whose inputs are prepared only where they are needed."""
    return [one.task for one in _not_done(_prepared(stage, tasks), output, stage)]


def _reasons(stage: Stage, waiting: Sequence[Prepared], output: Path) -> list[str]:
    reasons = [reason_to_run(one.task.name, output, one.made_from, stage.suffixes) for one in waiting]
    return reasons or ["its manifest is missing or names other tasks"]


def _prepared(stage: Stage, tasks: Sequence[Task]) -> list[Prepared]:
    digests = {path: input_digest(path) for path in dict.fromkeys(path for task in tasks for path in task.inputs)}
    made = [made_from(stage, task, digests) for task in tasks]
    return [Prepared(task, value_digest(what), what) for task, what in zip(tasks, made)]


def _not_done(prepared: Sequence[Prepared], output: Path, stage: Stage) -> list[Prepared]:
    return [one for one in prepared if not is_done(output / one.task.name, one.key, stage.suffixes)]


def _run_tasks(stage: Stage, prepared: Sequence[Prepared], output: Path, execution: Execution) -> None:
    names = {one.task.name for one in prepared}
    remove_strangers(output, names, stage.suffixes)
    waiting = _not_done(prepared, output, stage)  # again: now nobody else can write there
    total, left = sum(_size(one.task) for one in prepared), sum(_size(one.task) for one in waiting)
    run, done, start = partial(run_task, stage=stage, output=output), Counter[str](), time.monotonic()
    try:
        with progress_bar(total, label=stage.name, unit="B", initial=total - left) as bar:
            for one, counts in execute(run, waiting, execution, output, lambda one: one.task.name):
                done.update(counts)
                bar.set_postfix_str(_rates(done, time.monotonic() - start), refresh=False)
                bar.update(_size(one.task))
    finally:
        remove_strangers(output, names, stage.suffixes)  # what killed tasks were writing, whether or not others took over


def _rates(done: Counter[str], seconds: float) -> str:
    """What a stage counts beside bytes: "12,345 documents, 1.2 M tokens/s"."""
    documents = f"{done['documents']:,} documents" if done["documents"] else ""
    tokens = f"{done['tokens'] / 1e6 / seconds:.1f} M tokens/s" if done["tokens"] else ""
    return ", ".join(filter(None, (documents, tokens)))


def _check_names(tasks: Sequence[Task]) -> None:
    known: dict[str, Task] = {}
    for task in tasks:
        if task.name in known:
            places = ", ".join(str(path) for path in (*known[task.name].inputs[:1], *task.inputs[:1]))
            raise UserError(f"two inputs are called {task.name} ({places}) and would write the same output; rename one")
        known[task.name] = task


def _write_manifest(stage: Stage, key: str, tasks: Sequence[Task], output: Path, seconds: float) -> Manifest:
    outputs: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for task in tasks:
        record = read_json(beside(output / task.name, RECORD))
        outputs |= {name: entry["digest"] for name, entry in record["outputs"].items()}
        counts.update(record["counts"])
    manifest = Manifest(stage.name, key, dict(stage.parameters), outputs, dict(sorted(counts.items())), round(seconds, 3))
    manifest.write(output)
    return manifest


def _size(task: Task) -> int:
    return task.size or sum(path.stat().st_size for path in task.inputs if path.is_file()) or 1
