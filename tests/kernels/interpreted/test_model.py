"""Training steps through the Triton ops against the references: the same losses, whatever the layout."""

from __future__ import annotations

import os
import sys

import pytest
import torch

from megatron_snow.engine import Engine
from megatron_snow.kernels import REGISTRY
from megatron_snow.model import build_snowcoder
from tests.kernels.interpreted.rounding import patch_rounding

STEPS = 3
TOKENS = torch.randint(0, 130, (STEPS, 2, 9), generator=torch.Generator().manual_seed(2))


def train(recipe, implementation):
    """(losses, gradient norms, which implementations ran) of a few steps; the registry chooses once a process."""
    os.environ["MSNOW_KERNELS"] = implementation
    patch_rounding()
    engine = Engine(recipe, build_snowcoder(recipe))
    results = [engine.train_step(tokens, 1e-2) for tokens in TOKENS]
    engine.close()
    chosen = {choice.implementation.name for choice in REGISTRY.explain()}
    launched = "megatron_snow.kernels.triton_ops.ops" in sys.modules
    return [result.loss for result in results], [result.grad_norm for result in results], chosen, launched


LAYOUTS = {
    "fp32": ({}, 2e-6),
    "fp32, two tensor-parallel ranks": ({"processes": 2, "tensor": 2, "sequence": True}, 2e-6),
    "bf16": ({"precision": "bf16"}, 2e-3),
}


@pytest.fixture(scope="module")
def runs(workers, tiny_recipe):
    """What `train` returns by implementation and layout."""
    found = {}
    for implementation in ("reference", "triton"):
        workers.stop()  # new processes choose anew
        for layout, (changes, _tolerance) in LAYOUTS.items():
            recipe = tiny_recipe(num_layers=2, seq_length=8, global_batch_size=2, micro_batch_size=2, **changes)
            found[implementation, layout] = workers.run(recipe.parallel.processes, train, recipe, implementation, timeout=600.0)[0]
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_training(runs, layout):
    tolerance = LAYOUTS[layout][1]
    losses, norms, specified, launched = runs["reference", layout]
    assert not launched
    assert "triton" not in specified
    found, found_norms, chosen, launched = runs["triton", layout]
    assert launched
    assert "triton" in chosen
    assert losses[0] != losses[-1]
    assert found == pytest.approx(losses, rel=tolerance)
    assert found_norms == pytest.approx(norms, rel=10 * tolerance)
