"""Which steps are looked into, and what is written of them, by each rank."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from pathlib import Path

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.config import Workspace, load_recipe
from megatron_snow.training import Plan, prepare
from megatron_snow.training.loop import StepDone
from megatron_snow.training.pretrain import pretrain_run
from megatron_snow.training.profiling import StepWindow
from megatron_snow.training.telemetry_options import Monitoring, check_monitoring, step_range

QUICK = ["evaluation={benchmarks: [], held_out_sequences: 0}", "training.save_interval=100"]


class Noted(StepWindow):
    """Writes down after which step it was switched."""

    def __init__(self, wanted: range, steps: range) -> None:
        self.after, self.seen = steps.start - 1, list[tuple[str, int]]()
        super().__init__(wanted, steps)

    def on_step(self, done: StepDone) -> None:
        self.after = done.step.number
        super().on_step(done)

    def start(self) -> None:
        self.seen.append(("on", self.after))

    def stop(self) -> None:
        self.seen.append(("off", self.after))


@pytest.mark.parametrize(
    ("wanted", "steps", "seen"),
    [
        (range(1, 3), range(1, 9), [("on", 0), ("off", 2)]),
        (range(3, 4), range(1, 9), [("on", 2), ("off", 3)]),
        (range(2, 6), range(4, 9), [("on", 3), ("off", 5)]),  # what a resumed run still has of them
        (range(2, 4), range(4, 9), []),  # all done before
        (range(6, 9), range(1, 8), [("on", 5), ("off", 7)]),  # the loop ends within
        (range(8, 9), range(1, 8), []),  # the loop ends right before
    ],
)
def test_a_window(tiny_run, wanted: range, steps: range, seen: list[tuple[str, int]]) -> None:  # type: ignore[no-untyped-def]
    plan = Plan(load_recipe(tiny_run.recipe))
    window = Noted(wanted, steps)
    for number in steps:
        window.on_step(StepDone(plan.step(number), 1.0, 1.0, 1.0, 0.0, number == steps.stop - 1))
    window.close()
    assert window.seen == seen


@pytest.mark.parametrize("text", ["", "0-2", "3-2", "a-b", "2-", "1-2-3", "-1"])
def test_no_range(text: str) -> None:
    with pytest.raises(UserError, match=r"--profile .*give FIRST-LAST"):
        step_range("--profile", text)


def test_ranges() -> None:
    assert step_range("--profile", "2-3") == range(2, 4)
    assert step_range("--profile", "7") == range(7, 8)
    assert step_range("--profile", None) is None


def test_what_is_refused_before_step_1(tiny_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run = prepare(load_recipe(tiny_run.recipe), Workspace(tmp_path))
    with pytest.raises(UserError, match="--profile 7-9: the run ends with step 8"):
        check_monitoring(Monitoring(profile=range(7, 10)), run)
    with pytest.raises(UserError, match="--memory-snapshot: torch records the memory of a GPU, and there is none here"):
        check_monitoring(Monitoring(memory_snapshot=range(1, 2)), run)


def profiled(recipe_file: str, output: str) -> str:
    """One rank's part of a run of 2; what it said."""
    recipe = load_recipe(recipe_file, [*QUICK, "parallel.processes=2"])
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        pretrain_run(prepare(recipe, Workspace(Path(output)), until_phase="first"), Monitoring(profile=range(2, 4)))
    return said.getvalue()


def test_two_ranks_write_a_trace_each_and_one_speaks(tiny_run, tmp_path: Path, workers) -> None:  # type: ignore[no-untyped-def]
    main, other = workers.run(2, profiled, str(tiny_run.recipe), str(tmp_path), timeout=300)
    assert "TFLOP/s: measured, fp32 matrix product on the CPU with 1 thread(s) a rank, 2 ranks" in main
    assert "tok/s, MFU" in main
    assert other == ""
    folder = Workspace(tmp_path).profile
    names = [f"steps-2-3-rank-{rank}" for rank in range(2)]
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}{kind}" for name in names for kind in (".json.gz", ".txt")]
    for name in names:
        trace = json.loads(gzip.decompress((folder / f"{name}.json.gz").read_bytes()))["traceEvents"]
        optimizer_steps = [event for event in trace if event.get("name", "").startswith("Optimizer.step")]
        assert len(optimizer_steps) in (0, 2)
        assert any(event.get("name") == "aten::mm" for event in trace)
        assert "Self CPU" in (folder / f"{name}.txt").read_text()
