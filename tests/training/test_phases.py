"""The plan: steps, samples and tokens of every phase, without gap or overlap."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.config import load_recipe
from megatron_snow.training.phases import Plan

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(load_recipe(RECIPES / "tiny_cpu.yaml", ["phases.continued.tokens=655_361"]))


def test_horizons_round_up_to_whole_steps(plan: Plan) -> None:
    assert [planned.steps for planned in plan.phases] == [128, 41, 16]
    assert [planned.first_step for planned in plan.phases] == [1, 129, 170]
    assert plan.steps == 185


def test_the_papers_steps() -> None:
    """119,209 / 11,921 / 1,192 whole steps at 4,194,304 tokens, and one for the rest of each horizon."""
    plan = Plan(load_recipe(RECIPES / "snowcoder_1b3.yaml"))
    assert [planned.steps for planned in plan.phases] == [119_210, 11_921, 1_193]


def test_samples_follow_each_other_within_a_phase(plan: Plan) -> None:
    for planned in plan.phases:
        consumed: list[int] = []
        for number in range(planned.first_step, planned.last_step + 1):
            step = plan.step(number)
            assert step.phase is planned.phase
            consumed += step.samples
        assert consumed == list(range(planned.samples))
        assert len(consumed) * 512 >= planned.phase.tokens


@pytest.mark.parametrize("size", [1, 2, 3, 8, 32])
def test_rows_of_the_ranks_make_up_the_batch(plan: Plan, size: int) -> None:
    step = plan.step(133)
    assert [row for rank in range(size) for row in step.rows(rank, size)] == list(step.samples) == list(range(4 * 32, 5 * 32))


def test_starts_ends_and_totals(plan: Plan) -> None:
    assert [number for number in range(1, 186) if plan.step(number).is_phase_start] == [1, 129, 170]
    assert [number for number in range(1, 186) if plan.step(number).is_phase_end] == [128, 169, 185]
    assert plan.step(129).total_samples == 129 * 32
    assert plan.step(129).total_tokens == 129 * 32 * 512
    assert plan.step(129).learning_rate == 0.0
    assert plan.step(130).learning_rate == plan.step(130).phase.lr.peak * 32 * 512 / 65_536


def test_phases_by_step(plan: Plan) -> None:
    def names(phases: list) -> list[str]:  # type: ignore[type-arg]
        return [planned.phase.name for planned in phases]

    assert names(plan.begun(0)) == []
    assert names(plan.begun(128)) == ["general"]
    assert names(plan.begun(129)) == ["general", "continued"]
    assert names(plan.between(129, 169)) == ["continued"]
    assert names(plan.between(128, 185)) == ["general", "continued", "enhanced"]


def test_ends_and_mistakes(plan: Plan) -> None:
    assert plan.last_step(None) == 185
    assert plan.last_step("continued") == 169
    with pytest.raises(UserError, match="no such phase; did you mean continued"):
        plan.last_step("contined")
    with pytest.raises(UserError, match=r"steps 1 to 185 \(general 1-128, continued 129-169, enhanced 170-185\)"):
        plan.step(186)
