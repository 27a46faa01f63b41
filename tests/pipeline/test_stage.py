"""Stages: what is done is skipped, what changed is done again, and a kill at any point costs nothing but time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.common.records import read_manifest
from megatron_snow.pipeline import RECORD, Stage, Task, run_stage, tasks_by_shard

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def functions(functions: ModuleType) -> ModuleType:
    return functions


def stage(function: object, version: int = 1, **parameters: object) -> Stage:
    return Stage("upper", version, function, parameters, (".txt",))  # type: ignore[arg-type]


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.suffix == ".txt"}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.txt")}


def test_second_run_does_nothing(tmp_path: Path, inputs: list[Path], functions: ModuleType) -> None:
    first = run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "out")
    before = times(tmp_path / "out")
    assert run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "out") == first == read_manifest(tmp_path / "out")
    assert times(tmp_path / "out") == before


def test_changed_input_redoes_its_task_alone(tmp_path: Path, inputs: list[Path], functions: ModuleType) -> None:
    run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "out")
    before = times(tmp_path / "out")
    inputs[1].write_text("TEXT b\n")  # of the same size
    run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "out")
    assert {name for name, when in times(tmp_path / "out").items() if when != before[name]} == {"b.txt"}


@pytest.mark.parametrize("changed", [{"ending": "!"}, {"version": 2}])
def test_changed_parameter_or_version_redoes_all(
    tmp_path: Path, inputs: list[Path], functions: ModuleType, changed: dict[str, int]
) -> None:
    first = run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "out")
    before = times(tmp_path / "out")
    second = run_stage(stage(functions.upper, **changed), tasks_by_shard(inputs), tmp_path / "out")
    assert all(when != before[name] for name, when in times(tmp_path / "out").items())
    assert first.key != second.key


def test_removed_output_is_made_again(tmp_path: Path, inputs: list[Path], functions: ModuleType) -> None:
    first = run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "out")
    (tmp_path / "out" / "c.txt").unlink()
    assert run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "out").outputs == first.outputs
    assert (tmp_path / "out" / "c.txt").is_file()


def test_output_of_a_task_that_is_gone_is_removed(tmp_path: Path, inputs: list[Path], functions: ModuleType) -> None:
    run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "out")
    (tmp_path / "out" / ".x.123.partial.txt").write_text("left by a kill")
    (tmp_path / "out" / "notes.md").write_text("a person's")
    manifest = run_stage(stage(functions.upper), tasks_by_shard(inputs[:2]), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"a.txt", f"a{RECORD}", "b.txt", f"b{RECORD}", "manifest.json", "notes.md", ".stage.json"}
    assert set(manifest.outputs) == {"a.txt", "b.txt"}


def test_folder_with_files_of_others_is_refused_and_left_alone(tmp_path: Path, inputs: list[Path], functions: ModuleType) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("mine")
    with pytest.raises(UserError, match=r"precious\.txt, which no stage wrote"):
        run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "out")
    assert content(tmp_path / "out") == {"precious.txt": "mine"}


def test_folder_of_the_input_is_refused(tmp_path: Path, inputs: list[Path], functions: ModuleType) -> None:
    with pytest.raises(UserError, match=r"holds the input a\.txt"):
        run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "in")
    assert len(content(tmp_path / "in")) == 4


def test_two_inputs_of_one_name_are_refused(tmp_path: Path, inputs: list[Path], functions: ModuleType) -> None:
    other = tmp_path / "elsewhere" / "a.txt"
    other.parent.mkdir()
    other.write_text("x")
    with pytest.raises(UserError, match="two inputs are called a"):
        run_stage(stage(functions.upper), tasks_by_shard([*inputs, other]), tmp_path / "out")


def test_failure_leaves_nothing_half_written(tmp_path: Path, inputs: list[Path], functions: ModuleType) -> None:
    with pytest.raises(ValueError, match="b is bad"):
        run_stage(stage(functions.fail_on_b), tasks_by_shard(inputs), tmp_path / "out")
    assert content(tmp_path / "out") == {"a.txt": "half"}  # done before the failure, and recorded
    assert read_manifest(tmp_path / "out") is None


RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import stage_functions
from megatron_snow.pipeline import Execution, Stage, run_stage, tasks_by_shard
if __name__ == "__main__":
    stage = Stage("upper", 1, stage_functions.upper, {"seconds": 0.4}, (".txt",))
    run_stage(stage, tasks_by_shard(sorted(Path(sys.argv[2]).iterdir())), Path(sys.argv[3]), Execution(sys.argv[4], 2))
"""


@pytest.mark.parametrize("executor", ["inline", "pool"])
def test_sigkill_costs_only_time(tmp_path: Path, inputs: list[Path], functions: ModuleType, executor: str) -> None:
    """Killed after the first finished task: workers end too, what is done stays, and the next run ends in the same bytes."""
    script, output = tmp_path / "run.py", tmp_path / "out"
    script.write_text(RUN)
    process = subprocess.Popen([sys.executable, str(script), str(HERE), str(tmp_path / "in"), str(output), executor])
    deadline = time.monotonic() + 60
    while not list(output.glob(f"[!.]*{RECORD}")):
        assert time.monotonic() < deadline, "no task finished within a minute"
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    done = {path.name.removesuffix(RECORD) for path in output.glob(f"[!.]*{RECORD}")}
    before = times(output)
    assert 1 <= len(done) < 4
    assert read_manifest(output) is None
    run_stage(stage(functions.upper, seconds=0.4), tasks_by_shard(inputs), output)
    run_stage(stage(functions.upper, seconds=0), tasks_by_shard(inputs), tmp_path / "unbroken")
    assert content(output) == content(tmp_path / "unbroken")
    assert all(times(output)[f"{name}.txt"] == before[f"{name}.txt"] for name in done)
    assert not list(output.glob("*partial*"))


def test_parameters_of_a_task_belong_to_its_key(tmp_path: Path, inputs: list[Path], functions: ModuleType) -> None:
    for ending in ("1", "2"):
        run_stage(stage(functions.upper), [Task("t", (inputs[0],), {"ending": ending})], tmp_path / "out")
        assert content(tmp_path / "out") == {"t.txt": f"TEXT A\n{ending}"}


def test_a_missing_input_is_named(tmp_path: Path, functions: ModuleType) -> None:
    with pytest.raises(UserError, match=r"gone\.txt: no such file"):
        run_stage(stage(functions.upper), [Task("gone", (tmp_path / "gone.txt",))], tmp_path / "out")
