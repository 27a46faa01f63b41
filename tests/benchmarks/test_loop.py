"""The benchmark of the loop: the parts of a step make it up, on every rank."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from benchmarks.training.loop import MODEL, measure, one_phase, shares
from megatron_snow.config import Workspace


def measured(recipe):
    with tempfile.TemporaryDirectory() as folder:
        return measure(one_phase(recipe, 3), Workspace(Path(folder)))


def test_a_step_is_the_sum_of_its_parts(workers, tiny_recipe):
    main, other = workers.run(2, measured, tiny_recipe(processes=2), timeout=300)
    assert len(main) == len(other) == 3
    logging = {"MetricsWriter", "ProgressBar", "of MetricsWriter, TensorBoard"}
    parts = {"step", MODEL, "reading", "agreeing on an end"}
    assert [set(seconds) for seconds in main] == [parts | logging] * 3
    assert [set(seconds) for seconds in other] == [parts] * 3
    for seconds in (*main, *other):
        spent = sum(value for name, value in seconds.items() if name not in ("step", "of MetricsWriter, TensorBoard"))
        assert 0 < spent <= seconds["step"]


def test_shares_are_medians():
    steps = [{"step": step, MODEL: model, "reading": 1.0} for step, model in ((10.0, 9.0), (20.0, 18.0), (90.0, 30.0))]
    assert shares(steps) == pytest.approx({"step": 20.0, "outside": 2.0, MODEL: 18.0, "reading": 1.0})
