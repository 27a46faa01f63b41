"""The learning rate against its closed form at every step, the paper's run included."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from megatron_snow.config import Curve, CurvePoint, load_recipe
from megatron_snow.config.curve_checks import USED, check_curve
from megatron_snow.training.phases import Plan
from megatron_snow.training.schedule import learning_rate

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"
BATCH = 512 * 8192  # tokens of a step
PEAK, LOW = 5.3e-4, 5.3e-5


@pytest.fixture(scope="module")
def paper() -> Plan:
    return Plan(load_recipe(RECIPES / "snowcoder_1b3.yaml"))


def test_the_papers_run_at_every_step(paper: Plan) -> None:
    """Phase 1: 600 iterations of warmup, cosine 5.3e-4 -> 5.3e-5; phase 2: 1000 of re-warmup, linear to 0 (paper 2.2, 2.3); phase 3."""
    i1, i2, i3 = (np.arange(planned.steps, dtype=np.float64) for planned in paper.phases)
    share = (i1 - 600) * BATCH / (500e9 - 600 * BATCH)
    first = np.where(i1 < 600, PEAK * i1 / 600, LOW + 0.5 * (PEAK - LOW) * (1 + np.cos(np.pi * share)))
    second = np.where(i2 < 1000, PEAK * i2 / 1000, PEAK * (50e9 - i2 * BATCH) / (50e9 - 1000 * BATCH))
    third = np.where(i3 < 100, PEAK * i3 / 100, PEAK * (5e9 - i3 * BATCH) / (5e9 - 100 * BATCH))
    rates = np.array([paper.step(number).learning_rate for number in range(1, paper.steps + 1)])
    assert len(rates) == 132_324
    np.testing.assert_allclose(rates, np.concatenate([first, second, third]), rtol=1e-12, atol=1e-18)
    assert rates[600] == PEAK == rates[paper.phases[0].steps + 1000]


STEPS = 132_324
TOKENS = np.arange(STEPS, dtype=np.float64) * BATCH
END = float(STEPS * BATCH)
WARM, DECAY = 2000 * BATCH, 20_000 * BATCH
RISE = PEAK * TOKENS / WARM
FALL = np.clip((TOKENS - WARM) / (END - WARM), 0, None)
LAST = np.clip((TOKENS - (END - DECAY)) / DECAY, 0, None)
POINTS = ((0, 0.0), (3000, PEAK), (70_000, LOW), (100_000, LOW), (STEPS, 0.0))

# name -> curve, its closed form after the warmup over all steps
FORMS: dict[str, tuple[Curve, np.ndarray]] = {
    "cosine": (Curve("cosine", PEAK, LOW, WARM), LOW + (PEAK - LOW) * np.cos(np.pi / 2 * FALL) ** 2),
    "linear to zero": (Curve("linear", PEAK), PEAK * (1 - TOKENS / END)),
    "linear MIN -> 0": (Curve("linear", LOW), LOW * (1 - TOKENS / END)),
    "re-warmup": (Curve("linear", PEAK, 0.0, WARM), PEAK * (END - TOKENS) / (END - WARM)),
    "re-warmup from MIN": (Curve("linear", PEAK, 0.0, WARM, start=LOW), PEAK * (END - TOKENS) / (END - WARM)),
    "constant": (Curve("constant", LOW), np.full(STEPS, LOW)),
    "constant after a warmup": (Curve("constant", PEAK, 0.0, WARM), np.full(STEPS, PEAK)),
    "wsd linear": (Curve("wsd", PEAK, LOW, WARM, decay_tokens=DECAY), PEAK - (PEAK - LOW) * LAST),
    "wsd cosine": (
        Curve("wsd", PEAK, LOW, WARM, decay_tokens=DECAY, decay="cosine"),
        LOW + (PEAK - LOW) * np.cos(np.pi / 2 * LAST) ** 2,
    ),
    "wsd 1-sqrt": (Curve("wsd", PEAK, LOW, WARM, decay_tokens=DECAY, decay="1-sqrt"), PEAK - (PEAK - LOW) * np.sqrt(LAST)),
    "inverse sqrt": (Curve("inverse_sqrt", PEAK, 0.0, WARM), PEAK / np.sqrt(np.maximum(TOKENS, 1) / WARM)),
    "piecewise": (
        Curve("piecewise", points=tuple(CurvePoint(step * BATCH, rate) for step, rate in POINTS)),
        np.interp(np.arange(STEPS), *zip(*POINTS)),
    ),
    "cosine of a longer horizon": (
        Curve("cosine", PEAK, LOW, horizon_tokens=2 * STEPS * BATCH),
        LOW + (PEAK - LOW) * np.cos(np.pi / 4 * TOKENS / END) ** 2,
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_closed_form_at_every_step(name: str) -> None:
    curve, form = FORMS[name]
    assert not list(check_curve("lr", curve, STEPS * BATCH))
    expected = np.where(curve.warmup_tokens > TOKENS, curve.start + (curve.peak - curve.start) * TOKENS / WARM, form)
    rates = np.array([learning_rate(curve, step * BATCH, STEPS * BATCH) for step in range(STEPS)])
    np.testing.assert_allclose(rates, expected, rtol=1e-11, atol=1e-18)


@pytest.mark.parametrize("name", FORMS)
def test_no_curve_jumps(name: str) -> None:
    """Token by token over a horizon of 64,000 and beyond, a 64th of the distance makes a 64th of the largest change; of 1-sqrt its root."""
    curve, horizon = FORMS[name][0], 64_000
    shrunk = {key: round(getattr(curve, key) * horizon / END) for key in ("warmup_tokens", "decay_tokens", "horizon_tokens")}
    points = tuple(CurvePoint(round(point.tokens * horizon / END), point.rate) for point in curve.points)
    rates = np.array([learning_rate(replace(curve, points=points, **shrunk), tokens, horizon) for tokens in range(70_401)])
    expected = 8 if curve.decay == "1-sqrt" else 64
    assert np.abs(np.diff(rates)).max() <= 1.2 * np.abs(np.diff(rates[::64])).max() / expected


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
    assert learning_rate(Curve("cosine", peak=4.0, final=2.0), 250, 1000) == pytest.approx(3.0 + math.sqrt(0.5), abs=1e-15)
    assert learning_rate(Curve("wsd", peak=4.0, final=2.0, decay_tokens=400, decay="1-sqrt"), 700, 1000) == 3.0
    assert learning_rate(Curve("inverse_sqrt", peak=4.0, warmup_tokens=100), 400, 1000) == 2.0
    assert learning_rate(Curve("piecewise", points=(CurvePoint(0, 1.0), CurvePoint(10, 3.0))), 5, 1000) == 2.0
    assert learning_rate(Curve("piecewise", points=(CurvePoint(0, 1.0), CurvePoint(10, 3.0))), 999, 1000) == 3.0


def test_continues_where_phase_1_ended(paper: Plan) -> None:
    """Table 5's "linear MIN -> 0" begins at MIN, to which the cosine of phase 1 has fallen by its last step."""
    last = paper.step(paper.phases[0].last_step).learning_rate
    linear = Plan(load_recipe(RECIPES / "ablations" / "table5_linear.yaml"))
    assert linear.step(linear.phases[1].first_step).learning_rate == LOW == pytest.approx(last, rel=1e-6)


GOOD = {
    "constant": "{shape: constant, peak: 1.0e-3}",
    "wsd": "{shape: wsd, peak: 1.0e-3, decay_tokens: 1000}",
    "inverse_sqrt": "{shape: inverse_sqrt, peak: 1.0e-3, warmup_tokens: 1000}",
    "piecewise": "{shape: piecewise, points: [{tokens: 0, rate: 0}, {tokens: 2000, rate: 1.0e-3}]}",
    "cosine": "{shape: cosine, peak: 1.0e-3}",
    "linear": "{shape: linear, peak: 1.0e-3}",
}
GIVEN = {"peak": "1.0", "final": "1.0e-4", "warmup_tokens": "64", "start": "1.0e-4", "horizon_tokens": "9000000", "decay_tokens": "64",
         "decay": "cosine", "points": "[{tokens: 0, rate: 1.0}]"}  # fmt: skip


def problems(*changes: str) -> str:
    from megatron_snow.common.errors import UserError

    try:
        load_recipe(RECIPES / "tiny_cpu.yaml", [f"phases.general.{change}" for change in changes])
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("shape", GOOD)
def test_what_a_shape_does_not_use_is_refused(shape: str) -> None:
    assert problems(f"lr={GOOD[shape]}") == ""
    for key in set(GIVEN) - set(USED[shape]):
        message = problems(f"lr={GOOD[shape]}", f"lr.{key}={GIVEN[key]}")
        assert "1 problem in" in message
        assert f"phases.general.lr.{key}: " in message
        assert f"a {shape} curve does not use; leave it out, or take shape" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["lr.warmup_tokens=2097152"], "lr.warmup_tokens: 2097152 is not below the horizon of 2097152 tokens; shorten it, or raise"),
        (["tokens=100000"], "lr.warmup_tokens: 163840 is not below the horizon of 100000 tokens"),
        (["lr.horizon_tokens=100000"], "lr.warmup_tokens: 163840 is not below the horizon of 100000 tokens"),
        (["lr.warmup_tokens=-1"], "lr.warmup_tokens: -1 is not below the horizon"),
        (["lr.horizon_tokens=-1"], "lr.horizon_tokens: -1 is below 0"),
        (["lr.peak=0"], "lr: peak 0.0 and final 0.0004"),
        (["lr.peak=.nan"], "lr: peak nan and final"),
        (["lr.peak=.inf"], "lr: peak inf and final"),
        (["lr.final=1.0"], "lr: peak 0.004 and final 1.0"),
        (["lr.start=0.01"], "lr.start: 0.01 is not between 0 and peak 0.004"),
        (["lr.start=0.001", "lr.warmup_tokens=0"], "lr.start: 0.001, but without warmup_tokens the curve begins at its peak"),
        (["lr.shape=wsd"], "lr.decay_tokens: 0: a wsd curve ends in a decay; give its tokens, or take shape constant"),
        (
            ["lr.shape=wsd", "lr.decay_tokens=2000000"],
            "decay_tokens: 2000000 and warmup_tokens 163840 are more than the horizon",
        ),
        (["lr={shape: inverse_sqrt, peak: 1.0e-3}"], "lr.warmup_tokens: 0: an inverse_sqrt curve falls from its peak"),
        (["lr={shape: piecewise}"], "lr.points: none given; a piecewise curve is a list of {tokens, rate}"),
        (["lr={shape: piecewise, points: [{tokens: 5, rate: 1}]}"], "lr.points[0].tokens: 5: the first point is the phase's first step"),
        (
            ["lr={shape: piecewise, points: [{tokens: 0, rate: 1}, {tokens: 9, rate: 1}, {tokens: 9, rate: 0}]}"],
            "lr.points[2].tokens: 9 is not above 9 of the point before; put the points in ascending order",
        ),
        (["lr={shape: piecewise, points: [{tokens: 0, rate: 1}, {tokens: 2097153, rate: 0}]}"], "lr.points[1].tokens: 2097153 is beyond"),
        (["lr={shape: piecewise, points: [{tokens: 0, rate: -1.0}, {tokens: 1, rate: 1}]}"], "lr.points[0].rate: -1.0 is not a rate"),
        (["lr={shape: piecewise, points: [{tokens: 0, rate: 0}]}"], "lr.points: every rate is 0"),
        (["lr={shape: piecewise, points: [{tokens: 0.5, rate: 0}]}"], "lr.points[0].tokens: 0.5 is not a whole number"),
        (["lr.shape=wds"], "'wds' is not one of cosine, linear, constant, wsd, inverse_sqrt, piecewise; did you mean wsd?"),
    ],
)
def test_bad_curves(changes: list[str], message: str) -> None:
    assert message in problems(*changes)
