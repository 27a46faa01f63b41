"""Executors give the same bytes, let running tasks finish after a failure, and name what failed. Slurm's code runs on local processes."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.common.records import read_manifest
from megatron_snow.pipeline import RECORD, Execution, run_stage, tasks_by_shard
from megatron_snow.pipeline.executors import execute

LOCAL_SLURM = Execution("slurm", 2, {"cluster": "local"})
WIDE = [pytest.param(Execution("pool", 2), id="pool"), pytest.param(LOCAL_SLURM, id="slurm")]
Content = Callable[[Path], dict[str, str]]


@pytest.mark.parametrize("execution", WIDE)
def test_the_bytes_and_the_key_are_those_of_inline(
    execution: Execution, tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any, content: Content
) -> None:
    one = run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "inline")
    two = run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "wide", execution)
    assert content(tmp_path / "inline") == content(tmp_path / "wide") == {f"{n}.txt": f"TEXT {n.upper()}\n" for n in "abcd"}
    assert (one.outputs, one.counts, one.key) == (two.outputs, two.counts, two.key)
    assert {path.name for path in (tmp_path / "inline").iterdir()} == {path.name for path in (tmp_path / "wide").iterdir()}


@pytest.mark.parametrize("execution", WIDE)
def test_a_failure_lets_the_others_finish_and_is_raised_as_itself(
    execution: Execution, tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any, content: Content
) -> None:
    """b fails at once, a (begun beside it) takes half a second more: it is kept, and its record with it."""
    with pytest.raises(ZeroDivisionError, match="b is bad") as failure:
        run_stage(stage(functions.fail_with, error="other", seconds=0.5), tasks_by_shard(inputs[:2]), tmp_path / "out", execution)
    told = "\n".join(failure.value.__notes__)
    assert f"in stage 'upper', task b, which reads {inputs[1]}" in told
    assert "in fail_with" in told  # the line where it happened, in another process
    assert content(tmp_path / "out") == {"a.txt": "TEXT A\n"}
    assert (tmp_path / "out" / f"a{RECORD}").is_file()
    assert read_manifest(tmp_path / "out") is None


@pytest.mark.parametrize("execution", [*WIDE, pytest.param(Execution(), id="inline")])
def test_a_user_error_names_stage_task_and_shard(
    execution: Execution, tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any
) -> None:
    with pytest.raises(UserError) as failure:
        run_stage(stage(functions.fail_with, error="user"), tasks_by_shard(inputs), tmp_path / "out", execution)
    assert str(failure.value) == f"upper, task b ({inputs[1]}): the licence is missing; name one"


@pytest.mark.parametrize("execution", WIDE)
def test_an_exception_that_does_not_pickle_is_told(
    execution: Execution, tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any
) -> None:
    with pytest.raises(RuntimeError, match="Unpicklable: two values"):
        run_stage(stage(functions.fail_with, error="unpicklable"), tasks_by_shard(inputs), tmp_path / "out", execution)


def test_no_task_begins_after_a_failure(tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any) -> None:
    """One local job has all four items: after b neither c nor d."""
    with pytest.raises(ZeroDivisionError):
        run_stage(
            stage(functions.fail_with, error="other"), tasks_by_shard(inputs), tmp_path / "out", Execution("slurm", 1, {"cluster": "local"})
        )
    assert sorted(path.name for path in (tmp_path / "out").glob("*.txt")) == ["a.txt"]


def test_killed_worker_of_a_pool_is_a_message(tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any) -> None:
    with pytest.raises(UserError, match="lack of memory; run again with fewer --workers than 2"):
        run_stage(stage(functions.die), tasks_by_shard(inputs), tmp_path / "out", Execution("pool", 2))


def test_killed_job_is_a_message_with_its_log(
    tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any, content: Content
) -> None:
    """The others of its array are kept; the next run does what is missing and removes the logs."""
    with pytest.raises(UserError, match=r"job \d+ \(b, d\) ended without a result(.|\n)*the last words of b"):
        run_stage(stage(functions.die_once), tasks_by_shard(inputs), tmp_path / "out", LOCAL_SLURM)
    assert content(tmp_path / "out").keys() >= {"a.txt"}
    logs = tmp_path / "out" / ".slurm"
    assert list(logs.glob("snow-*/*_log.out"))
    run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "out", LOCAL_SLURM)
    assert not logs.exists()


def test_pickles_lie_where_nobody_else_can_write(tmp_path: Path, functions: ModuleType) -> None:
    def modes(item: str) -> tuple[int, ...]:
        (run,) = (Path(item) / ".slurm").glob("snow-*")
        return tuple(stat.S_IMODE(os.stat(path).st_mode) for path in (run.parent, run))

    ((_, found),) = execute(modes, [str(tmp_path)], LOCAL_SLURM, tmp_path)
    assert found == (0o700, 0o700)
    (tmp_path / "open" / ".slurm").mkdir(parents=True)
    (tmp_path / "open" / ".slurm").chmod(0o777)
    with pytest.raises(UserError, match="chmod 700 it"):
        list(execute(str, ["a"], LOCAL_SLURM, tmp_path / "open"))


@pytest.mark.parametrize(
    ("executor", "options", "message"),
    [
        ("slrum", {}, "'slrum' is not one of inline, pool, slurm, ray"),
        ("slurm", {"cluster": "lokal"}, "cluster=lokal: is slurm or local"),
        ("slurm", {"cluster": "local", "array_size": "0"}, "array_size=0: must be a whole number of at least 1"),
        ("ray", {"adress": "x"}, "adress: Ray takes .*; did you mean address?"),
        ("ray", {"num_cpus": "many"}, "num_cpus=many: must be a number"),
    ],
)
def test_options_are_checked(executor: str, options: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        list(execute(str, ["a"], Execution(executor, 2, options), tmp_path))


def test_slurm_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no sbatch on the PATH"):
        list(execute(str, ["a"], Execution("slurm", 2), tmp_path))


@pytest.mark.parametrize(("executor", "package", "extra"), [("slurm", "submitit", "slurm"), ("ray", "ray", "ray")])
def test_missing_package_is_named(executor: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # what Python keeps of a package that is not there
    with pytest.raises(UserError, match=rf"needs {package}; pip install 'megatron-snow\[{extra}\]'"):
        list(execute(str, ["a"], Execution(executor, 2), tmp_path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("1:30", 2), ("04:00:00", 240), ("0:00:01", 1), ("1-0", 1440), ("1-2:30", 1590), ("2-00:00:01", 2881)],
)
def test_times_as_sbatch_takes_them(text: str, expected: int) -> None:
    from megatron_snow.pipeline.slurm_jobs import minutes

    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["", "4h", "1:2:3:4", "-5"])
def test_other_times_are_refused(text: str) -> None:
    from megatron_snow.pipeline.slurm_jobs import minutes

    with pytest.raises(UserError, match="give minutes, H:MM:SS or DAYS-H:MM:SS"):
        minutes(text)
