"""--explain of a stage: each reason to run is told, nothing is written, and what is done is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from megatron_snow.pipeline import RECORD, Execution, Task, WouldRun, explaining, run_stage, tasks_by_shard

EXPLAIN = Execution(explain=True)


def tree(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def reason(tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any) -> Callable[..., str]:
    """reason(change, ...): run, let `change` happen, explain; what is said. Asserts that nothing was written."""

    def explain(change: Callable[[], object] = lambda: None, tasks: Any = None, execution: Execution = EXPLAIN, **changed: Any) -> str:
        output = tmp_path / "out"
        run_stage(stage(functions.upper, ending="."), tasks_by_shard(inputs), output)
        change()
        before = tree(tmp_path)
        try:
            run_stage(stage(functions.upper, **({"ending": "."} | changed)), tasks or tasks_by_shard(inputs), output, execution)
        except WouldRun as reasons:
            assert tree(tmp_path) == before
            head, *lines = str(reasons).splitlines()
            assert head == f"{output}: stage 'upper' would run, and all that reads its output"
            return "\n".join(line.strip() for line in lines)
        assert tree(tmp_path) == before
        return ""

    return explain


def test_nothing_to_do(reason: Callable[..., str]) -> None:
    assert reason() == ""


@pytest.mark.parametrize("executor", ["pool", "slurm", "ray"])
def test_executor_and_workers_are_no_reason(executor: str, reason: Callable[..., str]) -> None:
    assert reason(execution=Execution(executor, 7, {"address": "x"}, explain=True)) == ""


def test_changed_parameter(reason: Callable[..., str]) -> None:
    assert reason(ending="!") == "\n".join(f"{name}: ending '.' is now '!'" for name in "abcd")


def test_new_parameter(reason: Callable[..., str]) -> None:
    assert reason(seconds=0).splitlines()[0] == "a: seconds None is now 0"


def test_raised_version(reason: Callable[..., str]) -> None:
    assert reason(version=2).splitlines()[0] == "a: version 1 is now 2"


def test_changed_input_is_named_alone(reason: Callable[..., str], inputs: list[Path]) -> None:
    assert reason(lambda: inputs[1].write_text("TEXT b\n")) == "b: input b.txt has changed"


def test_input_that_is_gone_or_new(reason: Callable[..., str], inputs: list[Path]) -> None:
    told = reason(tasks=[Task("a", (inputs[1],)), *tasks_by_shard(inputs[1:])])
    assert told == "a: input b.txt is new; input a.txt is gone"


def test_removed_output(reason: Callable[..., str], tmp_path: Path) -> None:
    assert reason((tmp_path / "out" / "c.txt").unlink) == "c: c.txt is missing"


def test_cut_output(reason: Callable[..., str], tmp_path: Path) -> None:
    assert reason(lambda: (tmp_path / "out" / "c.txt").write_text("cut")) == "c: an output has another size than was recorded"


def test_task_that_was_never_done(reason: Callable[..., str], tmp_path: Path) -> None:
    assert reason((tmp_path / "out" / f"d{RECORD}").unlink) == "d: was never finished here"


def test_fewer_inputs_are_a_reason_though_all_that_are_left_are_done(reason: Callable[..., str], inputs: list[Path]) -> None:
    assert reason(tasks=tasks_by_shard(inputs[:2])) == "its manifest is missing or names other tasks"


def test_many_reasons_are_counted(tmp_path: Path, functions: ModuleType, stage: Any) -> None:
    (tmp_path / "t.txt").write_text("t")
    with pytest.raises(WouldRun, match=r"task-09: was never finished here\n  and 2 more tasks$"):
        run_stage(stage(functions.upper), [Task(f"task-{n:02d}", (tmp_path / "t.txt",)) for n in range(12)], tmp_path / "out", EXPLAIN)
    assert not (tmp_path / "out").exists()


def test_within_explaining_no_stage_runs_whatever_its_execution(
    tmp_path: Path, inputs: list[Path], functions: ModuleType, stage: Any
) -> None:
    with explaining(), pytest.raises(WouldRun):
        run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "out", Execution("pool", 2))
    assert not (tmp_path / "out").exists()
    run_stage(stage(functions.upper), tasks_by_shard(inputs), tmp_path / "out")
