"""A stage is tasks over files; each commits by rename and a record; the manifest commits the stage."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from megatron_snow.common.checksums import file_digest, value_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.files import PARTIAL, beside, commit
from megatron_snow.common.progress import progress_bar
from megatron_snow.common.records import MANIFEST, Manifest, read_json, read_manifest, write_json
from megatron_snow.pipeline.executors import INLINE, Execution, execute
from megatron_snow.pipeline.explain import WouldRun, reason_to_run
from megatron_snow.pipeline.shards import pieces_of

RECORD = ".record.json"
WORK = "work"  # the sub-folder of what a stage prepares for itself
MARKER = ".stage.json"  # in a folder that belongs to a stage

# (inputs, output prefix, parameters) -> counts. It writes beside(prefix, suffix) for each suffix of
# the stage and nothing else; the same arguments must give the same bytes.
Work = Callable[[Sequence[Path], Path, Mapping[str, Any]], Mapping[str, int]]


@dataclass(frozen=True)
class Stage:
    """What is done to shards. `version` is raised by hand when the same input should give another output."""

    name: str
    version: int
    work: Work
    parameters: Mapping[str, Any] = field(default_factory=dict)
    suffixes: tuple[str, ...] = (".parquet",)


@dataclass(frozen=True)
class Task:
    """One output of a stage: its name (without suffix), the files it reads, parameters of its own."""

    name: str
    inputs: tuple[Path, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0  # bytes of work, for the progress bar; 0: the size of its inputs


def tasks_by_shard(shards: Sequence[Path], *, also: Sequence[Path] = ()) -> list[Task]:
    """One task a shard, with the shard's name; each also reads the files `also`. A large file gives a task a piece.

    The parameter "piece" says what of its first input a task reads (`batches_of`).
    """
    tasks = []
    for shard in shards:
        name, pieces = shard.name.partition(".")[0], pieces_of(shard)
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
    stages prepared it.
    """
    start = time.monotonic() if started is None else started
    _check_names(tasks)
    _check_folder(stage, tasks, output)
    digests = {path: input_digest(path) for path in dict.fromkeys(path for task in tasks for path in task.inputs)}
    made_from = {task.name: _made_from(stage, task, digests) for task in tasks}
    keys = {name: value_digest(what) for name, what in made_from.items()}
    stage_key = value_digest([stage.name, stage.version, keys])
    waiting = [task for task in tasks if not _is_done(output / task.name, keys[task.name], stage.suffixes)]
    finished = read_manifest(output)
    if not waiting and finished is not None and finished.key == stage_key:
        return finished
    if execution.explain:
        raise WouldRun(stage.name, output, [reason_to_run(task.name, output, made_from[task.name], stage.suffixes) for task in waiting])
    _claim(stage, output)
    (output / MANIFEST).unlink(missing_ok=True)
    _remove_strangers(output, {task.name for task in tasks}, stage.suffixes)
    with progress_bar(sum(map(_size, tasks)), label=stage.name, unit="B") as bar:
        bar.update(sum(map(_size, tasks)) - sum(map(_size, waiting)))
        run = partial(_run_task, stage=stage, output=output)
        items = [(task, keys[task.name], made_from[task.name]) for task in waiting]
        for (task, _, _), _ in execute(run, items, execution, output):
            bar.update(_size(task))
    return _write_manifest(stage, stage_key, tasks, output, time.monotonic() - start)


def _check_names(tasks: Sequence[Task]) -> None:
    known: dict[str, Task] = {}
    for task in tasks:
        if task.name in known:
            places = ", ".join(str(path) for path in (*known[task.name].inputs[:1], *task.inputs[:1]))
            raise UserError(f"two inputs are called {task.name} ({places}) and would write the same output; rename one")
        known[task.name] = task


def _check_folder(stage: Stage, tasks: Sequence[Task], output: Path) -> None:
    """Refuse a folder of others: what lies there and no stage of ours wrote would be taken for output and removed."""
    inside = [path for task in tasks for path in task.inputs if path.parent.resolve() == output.resolve()]
    if inside:
        raise UserError(f"{output}: holds the input {inside[0].name}; choose another --output")
    marker = output / MARKER
    owner = read_json(marker)["stage"] if marker.is_file() else stage.name
    if owner.partition(":")[0] != stage.name.partition(":")[0]:  # "collect: read" and "collect" are one
        raise UserError(f"{output}: holds what stage {owner!r} wrote, {stage.name!r} would remove it; choose another --output")
    if not marker.is_file() and not (output / MANIFEST).is_file():
        foreign = sorted(path.name for path in output.glob("*") if path.name.endswith(stage.suffixes) and PARTIAL not in path.name)
        if foreign:
            raise UserError(f"{output}: holds {foreign[0]}, which no stage wrote; choose another --output or empty it")


def _claim(stage: Stage, output: Path) -> None:
    if not (output / MARKER).is_file():
        write_json(output / MARKER, {"stage": stage.name})


def input_digest(path: Path) -> str:
    """Digest of an input file; taken from the record beside it where its size still fits."""
    for suffix in (path.suffix, "".join(path.suffixes[-2:])):
        record = path.with_name(path.name.removesuffix(suffix) + RECORD)
        if suffix and record.is_file():
            known = read_json(record)["outputs"].get(path.name)
            if known and known["bytes"] == path.stat().st_size:
                return str(known["digest"])
    return file_digest(path)


def _made_from(stage: Stage, task: Task, digests: Mapping[Path, str]) -> dict[str, Any]:
    """What a task's output depends on; its digest is the key."""
    return {
        "stage": stage.name,
        "version": stage.version,
        "suffixes": list(stage.suffixes),
        "parameters": {**stage.parameters, **task.parameters},
        "inputs": [[path.name, digests[path]] for path in task.inputs],
    }


def _is_done(prefix: Path, key: str, suffixes: Sequence[str]) -> bool:
    record = beside(prefix, RECORD)
    if not record.is_file():
        return False
    known = read_json(record)
    files = [beside(prefix, suffix) for suffix in suffixes]
    return known["key"] == key and all(f.is_file() and f.stat().st_size == known["outputs"][f.name]["bytes"] for f in files)


def _run_task(item: tuple[Task, str, Mapping[str, Any]], *, stage: Stage, output: Path) -> None:
    task, key, made_from = item
    prefix = output / task.name
    temporary = prefix.with_name(f".{prefix.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")  # not the process number: nodes share folders
    record = beside(prefix, RECORD)
    record.unlink(missing_ok=True)  # from here until the new record is written the task is not done
    try:
        counts = stage.work(task.inputs, temporary, {**stage.parameters, **task.parameters})
        outputs = {}
        for suffix in stage.suffixes:
            written, final = beside(temporary, suffix), beside(prefix, suffix)
            outputs[final.name] = {"digest": file_digest(written), "bytes": written.stat().st_size}
            commit(written, final)
        write_json(record, {"key": key, "made_from": made_from, "outputs": outputs, "counts": dict(counts)})
    except OSError as error:
        if error.filename is None:  # pyarrow does not say which file had no room
            error.filename = str(prefix)
        raise
    finally:
        for suffix in stage.suffixes:
            beside(temporary, suffix).unlink(missing_ok=True)


def _remove_strangers(output: Path, names: set[str], suffixes: Sequence[str]) -> None:
    """Delete leavings of killed runs and of tasks that are no longer part of this stage."""
    kept = {f"{name}{suffix}" for name in names for suffix in (*suffixes, RECORD)} | {MARKER}
    for path in output.iterdir():
        ours = path.name.endswith(RECORD) or any(path.name.endswith(suffix) for suffix in suffixes)
        if path.is_file() and path.name not in kept and (ours or PARTIAL in path.name):
            path.unlink()


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
