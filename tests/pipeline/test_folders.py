"""One run at a time in a folder: two processes, wherever they stand; tasks of a killed run are waited for."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.common.locks import FolderLock
from megatron_snow.pipeline import RECORD, WORK, run_stage, tasks_by_shard
from megatron_snow.pipeline import folders as module
from megatron_snow.pipeline.folders import folder_of_ours, task_in

RUN = """
import sys
from pathlib import Path
import stage_functions
from megatron_snow.common.errors import exit_code_of
from megatron_snow.pipeline import Stage, run_stage, tasks_by_shard
stage = Stage("upper", 1, stage_functions.upper, {"seconds": float(sys.argv[3])}, (".txt",))
sys.exit(exit_code_of(lambda: run_stage(stage, tasks_by_shard(sorted(Path(sys.argv[1]).iterdir())), Path(sys.argv[2])) and None))
"""


def start(tmp_path: Path, output: str, seconds: float, folder: Path) -> subprocess.Popen[str]:
    (tmp_path / "run.py").write_text(RUN)
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "in"), output, str(seconds)]
    return subprocess.Popen(command, cwd=folder, env=os.environ, text=True, stderr=subprocess.PIPE)


def test_a_second_process_is_refused_wherever_it_stands(tmp_path: Path, inputs: list[Path], functions: ModuleType) -> None:
    """As two hosts on one file system: other working folders, other names of the same output, a link to it."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    first = start(tmp_path, "out", 1.5, tmp_path)
    deadline = time.monotonic() + 30
    while not (tmp_path / "out" / ".tasks.lock").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for output in ("../out", "../link/out"):
        second = start(tmp_path, output, 0, tmp_path / "elsewhere")
        assert second.wait(timeout=60) == 2
        assert second.stderr is not None
        message = second.stderr.read()
        assert f"another run (process {first.pid} on " in message
        assert "Traceback" not in message
    assert first.wait(timeout=60) == 0
    third = start(tmp_path, "../out", 1.5, tmp_path / "elsewhere")  # done: nothing to do, nothing to wait for
    assert third.wait(timeout=60) == 0
    assert not {".stage.lock", ".tasks.lock"} & {path.name for path in (tmp_path / "out").iterdir()}


def test_a_pass_stays_locked_until_its_stage_has_ended(tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any) -> None:
    """Otherwise another run could change OUTPUT/work/PASS between that pass and the one that reads it."""
    work = tmp_path / "out" / WORK / "pass"
    run_stage(stage(functions.upper), tasks_by_shard(inputs), work)
    assert start(tmp_path, str(work), 1, tmp_path).wait(timeout=60) == 2
    run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "out")
    assert start(tmp_path, str(work), 1, tmp_path).wait(timeout=60) == 0


def test_a_run_waits_for_the_tasks_of_a_killed_one(tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any) -> None:
    """A worker in compiled code ends some time after who started it; until then it may still write."""
    (tmp_path / "out").mkdir()
    file = open(tmp_path / "out" / ".tasks.lock", "w")  # noqa: SIM115 what the killed run left
    fcntl.flock(file, fcntl.LOCK_SH)
    begin = time.monotonic()
    threading.Timer(0.7, file.close).start()
    run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "out")
    assert time.monotonic() - begin > 0.6


def test_waiting_for_them_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.2)
    with open(tmp_path / ".tasks.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        with pytest.raises(UserError, match="tasks of a run that was killed still write there"), folder_of_ours(tmp_path):
            raise AssertionError("not reached")


def test_a_task_whose_run_has_ended_does_not_begin(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the run that this task belongs to has ended"), task_in(tmp_path):
        raise AssertionError("not reached")


def test_a_file_system_without_locks_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(file: object, operation: int) -> None:
        raise OSError(38, "Function not implemented")  # Lustre without the mount option `flock`

    monkeypatch.setattr("megatron_snow.common.locks.fcntl.flock", no_locks)
    with folder_of_ours(tmp_path), task_in(tmp_path):
        assert (tmp_path / ".tasks.lock").is_file()


def test_a_lock_that_is_removed_when_released_excludes_too(tmp_path: Path) -> None:
    """Many processes, each of which counts alone: open, lock, read, write, remove."""
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom megatron_snow.common.errors import UserError\n"
        "from megatron_snow.common.locks import FolderLock\nfolder = Path(sys.argv[1])\ndone = 0\n"
        "while done < 50:\n"
        "    lock = FolderLock(folder, 'x', leave=False)\n"
        "    try: lock.acquire()\n"
        "    except UserError: continue\n"
        "    count = int((folder / 'count').read_text())\n    time.sleep(0.0005)\n    (folder / 'count').write_text(str(count + 1))\n"
        "    lock.release()\n    done += 1\n"
    )
    (tmp_path / "count").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "200"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


def test_the_lock_goes_with_a_failure(tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any) -> None:
    with pytest.raises(ValueError, match="b is bad"):
        run_stage(stage(functions.fail_on_b), tasks_by_shard(inputs), tmp_path / "out")
    FolderLock((tmp_path / "out").resolve(), "stage").acquire()
    assert (tmp_path / "out" / f"a{RECORD}").is_file()
