"""A task of a stage: what its output depends on, whether it is done, and running it so that it is done or not there."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from megatron_snow.common.checksums import file_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.files import PARTIAL, beside, commit_all
from megatron_snow.common.records import read_json
from megatron_snow.pipeline.folders import RECORD, task_in

_SETTLED_NS = 2_000_000_000  # a file changed later than so long ago may change again without another time of change

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
    digest: Callable[[Path], str] = file_digest  # of an output, for its record; a stage whose work digests what it writes says it here


@dataclass(frozen=True)
class Task:
    """One output of a stage: its name (without suffix), the files it reads, parameters of its own."""

    name: str
    inputs: tuple[Path, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0  # bytes of work, for the progress bar; 0: the size of its inputs


class Prepared(NamedTuple):
    """A task, what its output is made from, and the digest of that: its key."""

    task: Task
    key: str
    made_from: Mapping[str, Any]


def input_digest(path: Path) -> str:
    """Digest of an input file; taken from the record beside it where its size still fits. UserError where there is none."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the inputs, or run the stage that makes it")
    for suffix in (path.suffix, "".join(path.suffixes[-2:])):
        record = path.with_name(path.name.removesuffix(suffix) + RECORD)
        if suffix and record.is_file():
            known = read_json(record)["outputs"].get(path.name)
            if known and known["bytes"] == path.stat().st_size:
                return str(known["digest"])
    now = path.stat()
    if time.time_ns() - now.st_mtime_ns < _SETTLED_NS:
        return file_digest(path)
    return _digest(path.absolute(), now.st_size, now.st_mtime_ns, now.st_ino)


@lru_cache(100_000)
def _digest(path: Path, size: int, modified: int, inode: int) -> str:
    """A stage of several passes reads its input more than once; it is digested (1 s a GB) once."""
    return file_digest(path)


def made_from(stage: Stage, task: Task, digests: Mapping[Path, str]) -> dict[str, Any]:
    """What a task's output depends on; its digest is the key."""
    return {
        "stage": stage.name,
        "version": stage.version,
        "suffixes": list(stage.suffixes),
        "parameters": {**stage.parameters, **task.parameters},
        "inputs": [[path.name, digests[path]] for path in task.inputs],
    }


def is_done(prefix: Path, key: str, suffixes: Sequence[str]) -> bool:
    """Whether the record has this key and the files the sizes that stand in it."""
    record = beside(prefix, RECORD)
    if not record.is_file():
        return False
    known = read_json(record)
    files = [beside(prefix, suffix) for suffix in suffixes]
    return known["key"] == key and all(f.is_file() and f.stat().st_size == known["outputs"][f.name]["bytes"] for f in files)


def run_task(prepared: Prepared, *, stage: Stage, output: Path) -> dict[str, int]:
    """Do the work beside the outputs, then commit them and the record; the counts. Messages name the task and what it reads."""
    task = prepared.task
    try:
        with task_in(output):
            return _run(prepared, stage, output / task.name)
    except UserError as error:
        if not task.inputs or any(str(path) in str(error) for path in task.inputs):
            raise
        raise UserError(f"{stage.name}, task {task.name} ({task.inputs[0]}): {error}") from error
    except OSError as error:
        if error.filename is None:  # pyarrow does not say which file had no room
            error.filename = str(output / task.name)
        raise
    except Exception as error:
        error.add_note(f"in stage {stage.name!r}, task {task.name}, which reads {', '.join(map(str, task.inputs))}")
        raise


def _run(prepared: Prepared, stage: Stage, prefix: Path) -> dict[str, int]:
    temporary = prefix.with_name(f".{prefix.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")  # not the process number: nodes share folders
    record = beside(prefix, RECORD)
    record.unlink(missing_ok=True)  # from here until the new record is written the task is not done
    try:
        counts = stage.work(prepared.task.inputs, temporary, {**stage.parameters, **prepared.task.parameters})
        written = [(beside(temporary, suffix), beside(prefix, suffix)) for suffix in stage.suffixes]
        outputs = {final.name: {"digest": stage.digest(path), "bytes": path.stat().st_size} for path, final in written}
        kept = {"key": prepared.key, "made_from": prepared.made_from, "outputs": outputs, "counts": dict(counts)}
        beside(temporary, RECORD).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        commit_all([*written, (beside(temporary, RECORD), record)])
        return dict(counts)
    finally:
        for suffix in (*stage.suffixes, RECORD):
            beside(temporary, suffix).unlink(missing_ok=True)
