"""100 steps give the losses that are written down; a changed constant does not."""

from __future__ import annotations

import pytest

from megatron_snow.common.records import read_json
from tests.golden.losses import GOLDEN, differences, environment, train

ELSEWHERE = {"torch": "another"}


def test_losses_are_the_golden_ones(workers):
    golden = read_json(GOLDEN)
    losses, where = workers.run(1, train_here, 100, [])[0]
    assert len(losses) == len(golden["losses"]) == 100
    assert losses[-1] < 0.75 * losses[0]
    told = differences(losses, golden, where)
    assert not told, "\n".join(["wanted or not? see tests/golden/losses.py", *told[:5]])


@pytest.mark.parametrize("change", ["model.norm_eps=1.0e-4", "training.optimizer.eps=1.0e-5", "training.optimizer.beta2=0.951"])
def test_a_change_of_numerics_is_found(workers, change):
    losses, where = workers.run(1, train_here, 12, [change])[0]
    golden = read_json(GOLDEN)
    assert differences(losses, golden, where)
    assert differences(losses, golden, ELSEWHERE), "also on another machine"


def train_here(steps, overrides):
    return train(steps, overrides), environment()
