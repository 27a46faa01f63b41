"""Speed and time left, from the median of step times."""

from __future__ import annotations

import pytest

from megatron_snow.config import load_recipe
from megatron_snow.training import Plan
from megatron_snow.training.loop import StepDone
from megatron_snow.training.planning.flops import Flops
from megatron_snow.training.progress_bar import Pace, ProgressBar, duration, tokens_left
from megatron_snow.training.telemetry import Figures, Peak


@pytest.fixture
def plan(tiny_run) -> Plan:  # type: ignore[no-untyped-def]
    """Steps of 128 tokens: 1 to 5 in the first phase, 6 to 8 in the second."""
    return Plan(load_recipe(tiny_run.recipe))


def done(plan: Plan, number: int, seconds: float) -> StepDone:
    return StepDone(plan.step(number), 6.5, 1.0, seconds, 0.0, False)


def test_an_odd_step_moves_nothing(plan: Plan) -> None:
    pace = Pace()
    for number, seconds in ((1, 90.0), (2, 2.0), (3, 2.0), (4, 40.0), (5, 2.0)):
        pace.add(done(plan, number, seconds))
    assert pace.tokens_per_second == 64
    assert pace.left(640) == 10


@pytest.mark.parametrize(
    ("number", "last", "left"),
    [(1, 8, (512, 896)), (5, 8, (0, 384)), (6, 8, (256, 256)), (8, 8, (0, 0)), (2, 5, (384, 384)), (2, 4, (256, 256))],
)
def test_what_is_left_of_the_phase_and_in_all(plan: Plan, number: int, last: int, left: tuple[int, int]) -> None:
    assert tokens_left(plan.step(number), plan, last) == left


def test_the_text(plan: Plan) -> None:
    bar = ProgressBar(plan, 8, Figures(Flops(1000, 400), Peak(1e6, "made up")))
    bar.on_step(done(plan, 1, 0.5))
    last = done(plan, 2, 0.5)
    bar.on_step(last)
    assert bar.text(last) == "step 2, loss 6.500, 256 tok/s, MFU 46.1% (causal 35.8%), left 00:02, in all 00:03"
    bar.close()


def test_days() -> None:
    assert [duration(seconds) for seconds in (42, 3_600, 90_061)] == ["00:42", "1:00:00", "1d 1:01:01"]
