"""A run stopped and gone on with in new processes ends in the bits of an unbroken one, saved in the background or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.resume.runs import model_files, run_steps, steps_of

LAYOUTS = {
    "dp2": ["parallel.processes=2"],
    "tp2": ["parallel.processes=2", "parallel.tensor=2"],
    "pp2": ["parallel.processes=2", "parallel.pipeline=2"],
    "dp2-zero1": ["parallel.processes=2", "parallel.distributed_optimizer=true"],
}
NO_EVALUATION = ["evaluation.held_out_sequences=0", "evaluation.benchmarks=[]"]
ASYNC = "training.async_save=true"


def assert_exact(workers, run, tmp_path: Path, changes: list[str], stop_after: int) -> None:  # type: ignore[no-untyped-def]
    """An unbroken run that saves in place against two halves that save in the background."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    changes = [*changes, *NO_EVALUATION]
    unbroken = workers.run(2, run_steps, run.recipe, whole, changes, timeout=300)
    first = workers.run(2, run_steps, run.recipe, halves, [*changes, ASYNC], stop_after, timeout=300)
    workers.stop()  # so that the second half is in new processes
    second = workers.run(2, run_steps, run.recipe, halves, [*changes, ASYNC], timeout=300)
    assert steps_of(halves) == steps_of(whole)
    last = unbroken[0][-1][0]
    assert [first[rank][-1][0] for rank in range(2)] == [stop_after] * 2
    assert second[0][0][0] == stop_after + 1
    assert [one + two for one, two in zip(first, second)] == unbroken  # samples of each rank
    assert model_files(halves, last) == model_files(whole, last)


@pytest.mark.parametrize("layout", ["dp2-zero1", "pp2"])
def test_stopped_and_resumed_with_saves_in_the_background(workers, tiny_run, tmp_path: Path, layout: str) -> None:  # type: ignore[no-untyped-def]
    """Eight steps, stopped after the third, which is no step to save at; the second phase begins at the sixth with a new optimizer."""
    assert_exact(workers, tiny_run, tmp_path, LAYOUTS[layout], 3)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_forty_steps_are_twenty_and_twenty(workers, tiny_run, tmp_path: Path, layout: str, precision: str) -> None:  # type: ignore[no-untyped-def]
    """The phases have 25 and 15 steps; a save at every third step."""
    long = ["phases.first.tokens=3200", "phases.second.tokens=1920", "training.save_interval=3", f"training.precision={precision}"]
    assert_exact(workers, tiny_run, tmp_path, [*LAYOUTS[layout], *long], 20)
    assert len(steps_of(tmp_path / "whole")) == 40
