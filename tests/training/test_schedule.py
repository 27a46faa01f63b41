"""The learning rate against its closed form, the paper's run included."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from megatron_snow.config import Curve, load_recipe
from megatron_snow.training.phases import Plan
from megatron_snow.training.schedule import learning_rate

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"


@pytest.mark.parametrize("shape", ["cosine", "linear", "constant"])
def test_warmup_and_ends(shape: str) -> None:
    curve = Curve(shape, peak=1e-3, final=1e-4, warmup_tokens=100)  # type: ignore[arg-type]
    assert learning_rate(curve, 0, 1100) == 0.0
    assert learning_rate(curve, 25, 1100) == 0.25e-3
    assert learning_rate(curve, 100, 1100) == 1e-3
    end = 1e-3 if shape == "constant" else 1e-4
    assert learning_rate(curve, 1100, 1100) == pytest.approx(end, abs=1e-18)
    assert learning_rate(curve, 2000, 1100) == pytest.approx(end, abs=1e-18)


def test_middle_of_the_shapes() -> None:
    assert learning_rate(Curve("linear", peak=4.0, final=2.0), 500, 1000) == 3.0
    assert learning_rate(Curve("cosine", peak=4.0, final=2.0), 500, 1000) == pytest.approx(3.0, abs=1e-15)
    assert learning_rate(Curve("cosine", peak=4.0, final=2.0), 250, 1000) == pytest.approx(3.0 + math.sqrt(0.5), abs=1e-15)
    assert learning_rate(Curve("constant", peak=4.0), 999, 1000) == 4.0


def test_no_warmup_starts_at_the_peak() -> None:
    """Table 5's "linear MIN -> 0" goes on where the cosine of phase 1 ended."""
    assert learning_rate(Curve("linear", peak=5.3e-5), 0, 10_000_000_000) == 5.3e-5


def test_the_papers_run() -> None:
    """Phase 1: 600 iterations of warmup, cosine 5.3e-4 -> 5.3e-5; phase 2: 1000 of re-warmup, linear to 0 (paper 2.2, 2.3)."""
    plan = Plan(load_recipe(RECIPES / "snowcoder_1b3.yaml"))
    general, continued = plan.phases[0], plan.phases[1]
    batch = 512 * 8192
    peak, low = 5.3e-4, 5.3e-5

    def rate(phase: int, iteration: int) -> float:
        return plan.step(plan.phases[phase].first_step + iteration).learning_rate

    for iteration in (0, 1, 300, 599):
        assert rate(0, iteration) == pytest.approx(peak * iteration / 600, rel=1e-14)
    assert rate(0, 600) == peak
    for iteration in (601, 50_000, 100_000, general.steps - 1):
        share = (iteration - 600) * batch / (500_000_000_000 - 600 * batch)
        assert rate(0, iteration) == pytest.approx(low + 0.5 * (peak - low) * (1 + math.cos(math.pi * share)), rel=1e-14)
    assert rate(0, general.steps - 1) == pytest.approx(low, rel=1e-6)
    assert rate(1, 0) == 0.0
    assert rate(1, 500) == pytest.approx(peak / 2, rel=1e-14)
    assert rate(1, 1000) == peak
    for iteration in (1001, 6000, continued.steps - 1):
        share = (iteration - 1000) * batch / (50_000_000_000 - 1000 * batch)
        assert rate(1, iteration) == pytest.approx(peak * (1 - share), rel=1e-12)
    assert 0 < rate(1, continued.steps - 1) < peak / 10_000
