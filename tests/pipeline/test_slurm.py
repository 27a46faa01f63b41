"""Slurm for real: job arrays on a controller and a node of this machine, where their binaries are (slurm_cluster.py says how)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.pipeline import RECORD, Execution, run_stage, tasks_by_shard
from tests.slurm_cluster import slurm_cluster, why_not

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]
Content = Callable[[Path], dict[str, str]]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture(autouse=True)
def slurm(started: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATH", "SLURM_CONF", "LD_LIBRARY_PATH"):
        monkeypatch.setenv(name, started[name])


def queued() -> list[str]:
    return subprocess.run(["squeue", "--noheader", "--array"], capture_output=True, text=True, check=True).stdout.splitlines()


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {queued()}"
        time.sleep(0.1)


def test_an_array_gives_the_bytes_of_inline(
    tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any, content: Content
) -> None:
    options = {"partition": "cpu", "time": "0:10:00", "mem": "100M", "cpus_per_task": "1", "array_size": "3"}
    one = run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "inline")
    two = run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "slurm", Execution("slurm", 2, options))
    assert one.outputs == two.outputs
    assert content(tmp_path / "slurm") == content(tmp_path / "inline")
    assert not (tmp_path / "slurm" / ".slurm").exists()


def test_a_killed_job_is_told_with_its_log_and_the_next_run_goes_on(
    tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any, content: Content
) -> None:
    with pytest.raises(UserError, match=r"job \d+_1 \(b\) ended without a result(.|\n)*the last words of b"):
        run_stage(stage(functions.die_once), tasks_by_shard(inputs), tmp_path / "out", Execution("slurm", 4))
    wait_for(lambda: not queued())
    run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "out", Execution("slurm", 4))
    assert content(tmp_path / "out") == {f"{name}.txt": f"TEXT {name.upper()}\n" for name in "abcd"}


def test_a_failure_cancels_what_has_not_begun(
    tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any, content: Content
) -> None:
    """One job at a time: a is done, b fails, c and d never begin."""
    with pytest.raises(ZeroDivisionError, match="b is bad"):
        run_stage(stage(functions.fail_with, error="other"), tasks_by_shard(inputs), tmp_path / "out", Execution("slurm", 1))
    assert content(tmp_path / "out").keys() <= {"a.txt", "c.txt"}
    assert "d.txt" not in content(tmp_path / "out")
    wait_for(lambda: not queued())


def test_what_sbatch_refuses_is_told(tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any) -> None:
    with pytest.raises(UserError, match=r"sbatch refused the jobs: (.|\n)*invalid partition"):
        run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "out", Execution("slurm", 1, {"partition": "gpus"}))


def test_an_array_beyond_max_array_size_is_refused_and_array_size_mends_it(
    tmp_path: Path, functions: ModuleType, stage: Any, content: Content
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(12):  # the configuration allows 8
        (tmp_path / "in" / f"t{number:02d}.txt").write_text("text")
    tasks = tasks_by_shard(sorted((tmp_path / "in").iterdir()))
    with pytest.raises(UserError, match=r"sbatch refused the jobs: (.|\n)*[Ii]nvalid job array"):
        run_stage(stage(functions.upper), tasks, tmp_path / "out", Execution("slurm", 2))
    run_stage(stage(functions.upper), tasks, tmp_path / "out", Execution("slurm", 2, {"array_size": "8"}))
    assert len(content(tmp_path / "out")) == 12


RUN = """
import sys
from pathlib import Path
import stage_functions
from megatron_snow.common.processes import interrupted_by_sigterm
from megatron_snow.pipeline import Execution, Stage, run_stage, tasks_by_shard
with interrupted_by_sigterm():
    stage = Stage("upper", 1, stage_functions.upper, {"seconds": float(sys.argv[3])}, (".txt",))
    run_stage(stage, tasks_by_shard(sorted(Path(sys.argv[1]).iterdir())), Path(sys.argv[2]), Execution("slurm", 2))
"""


def start(tmp_path: Path, seconds: float) -> subprocess.Popen[bytes]:
    (tmp_path / "run.py").write_text(RUN)
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "in"), str(tmp_path / "out"), str(seconds)]
    return subprocess.Popen(command, env=os.environ, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_the_jobs(tmp_path: Path, inputs: list[Path], functions: ModuleType, number: int) -> None:
    process = start(tmp_path, 300)
    wait_for(lambda: any(" R " in line for line in queued()))
    process.send_signal(number)
    process.wait(timeout=30)
    wait_for(lambda: not queued(), seconds=20)
    assert not list((tmp_path / "out").glob("*.txt"))
    assert not list((tmp_path / "out").glob(".*partial*"))


def test_after_sigkill_the_next_run_ends_the_old_jobs_and_the_same_bytes(
    tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any, content: Content
) -> None:
    process = start(tmp_path, 4)
    wait_for(lambda: list((tmp_path / "out").glob(f"[!.]*{RECORD}")))
    process.kill()
    process.wait()
    name = next((tmp_path / "out" / ".slurm").glob("snow-*")).name
    ours = ["squeue", "--noheader", "--name", name]
    assert subprocess.check_output(ours)  # the jobs outlive who gave them
    run_stage(stage(functions.upper, seconds=0), tasks_by_shard(inputs), tmp_path / "out", Execution("slurm", 2))
    assert not subprocess.check_output(ours)
    assert content(tmp_path / "out") == {f"{name}.txt": f"TEXT {name.upper()}\n" for name in "abcd"}
    assert not (tmp_path / "out" / ".slurm").exists()
