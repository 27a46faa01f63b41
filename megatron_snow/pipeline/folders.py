"""A stage's folder: whose it is, who writes there now, and what does not belong there."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import PARTIAL
from megatron_snow.common.locks import FolderLock, lock_file
from megatron_snow.common.records import MANIFEST, read_json, write_json

RECORD = ".record.json"  # beside the outputs of a task that is done
MARKER = ".stage.json"  # in a folder that belongs to a stage
WORK = "work"  # the sub-folder of what a stage prepares for itself
_TASKS = ".tasks.lock"  # shared by the tasks that write into the folder
_PATIENCE_SECONDS = 120.0  # for tasks of a run that was killed; most end with it

_held: dict[Path, FolderLock] = {}


@contextmanager
def folder_of_ours(output: Path) -> Iterator[None]:
    """The folder is this run's alone; UserError where another writes there.

    That of a pass (OUTPUT/work/PASS) is kept until the stage of OUTPUT has ended, so that nobody changes
    it between two passes. Tasks of a run that was killed are waited for: Slurm's are cancelled.
    """
    folder = output.resolve()
    nested = folder in _held and folder.parent.name != WORK
    if folder not in _held:
        lock = FolderLock(folder, "stage", leave=False)
        lock.acquire()
        _held[folder] = lock
    ended = False
    try:
        _end_leftovers(folder)
        (folder / _TASKS).touch()
        yield
        ended = True
    finally:
        (folder / _TASKS).unlink(missing_ok=True)
        is_pass = folder.parent.name == WORK
        work = folder.parent if is_pass else folder / WORK
        passes = [path for path in _held if path.parent == work and not (is_pass and ended)]
        for path in passes if nested or is_pass else [*passes, folder]:
            _held.pop(path).release()


def _end_leftovers(folder: Path) -> None:
    if (folder / ".slurm").is_dir():
        from megatron_snow.pipeline.slurm import end_leftovers

        end_leftovers(folder)
    if not (folder / _TASKS).is_file():
        return None
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with open(folder / _TASKS, encoding="utf-8") as file:
        while True:
            try:
                return lock_file(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UserError(f"{folder}: tasks of a run that was killed still write there; end them, then run again") from None
                time.sleep(0.1)


@contextmanager
def task_in(output: Path) -> Iterator[None]:
    """Around a task, wherever it runs: the next run waits for its end. UserError where the run that gave it has ended."""
    try:
        file = open(output / _TASKS, encoding="utf-8")  # noqa: SIM115 closed below
    except FileNotFoundError:
        raise UserError(f"{output}: the run that this task belongs to has ended") from None
    with file:
        lock_file(file, fcntl.LOCK_SH)
        yield


def check_folder(stage: str, inputs: Sequence[Path], suffixes: Sequence[str], output: Path) -> None:
    """Refuse a folder of others: what lies there and no stage of ours wrote would be taken for output and removed."""
    inside = [path for path in inputs if path.parent.resolve() == output.resolve()]
    if inside:
        raise UserError(f"{output}: holds the input {inside[0].name}; choose another --output")
    marker = output / MARKER
    owner = read_json(marker)["stage"] if marker.is_file() else stage
    if owner.partition(":")[0] != stage.partition(":")[0]:  # "collect: read" and "collect" are one
        raise UserError(f"{output}: holds what stage {owner!r} wrote, {stage!r} would remove it; choose another --output")
    if not marker.is_file() and not (output / MANIFEST).is_file():
        foreign = sorted(path.name for path in output.glob("*") if path.name.endswith(tuple(suffixes)) and PARTIAL not in path.name)
        if foreign:
            raise UserError(f"{output}: holds {foreign[0]}, which no stage wrote; choose another --output or empty it")


def claim(stage: str, output: Path) -> None:
    """Write down whose the folder is."""
    if not (output / MARKER).is_file():
        write_json(output / MARKER, {"stage": stage})


def remove_strangers(output: Path, names: set[str], suffixes: Sequence[str]) -> None:
    """Delete leavings of killed runs and of tasks that are no longer part of this stage."""
    kept = {f"{name}{suffix}" for name in names for suffix in (*suffixes, RECORD)} | {MARKER}
    for path in output.iterdir():
        ours = path.name.endswith((RECORD, *suffixes))
        if path.is_file() and path.name not in kept and (ours or PARTIAL in path.name):
            path.unlink(missing_ok=True)
