"""training.compile: the same losses, on one process and on two; without a compiler one message before step 1."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from megatron_snow.common.errors import UserError
from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder
from megatron_snow.training.checks import check_compiler

TOKENS = torch.randint(0, 130, (8, 33), generator=torch.Generator().manual_seed(11))
MASK = torch.ones(3, 32, dtype=torch.bool)


def train(recipe):
    """Losses and norms of 3 steps, a held-out loss of uneven rows, and how often Dynamo compiled."""
    from torch._dynamo.utils import counters

    counters.clear()
    engine = Engine(recipe, build_snowcoder(recipe))
    results = [engine.train_step(TOKENS.chunk(engine.data_size)[engine.data_rank], 3e-3) for _ in range(3)]
    held_out, _ = engine.evaluate(TOKENS[:3], MASK)
    engine.close()
    return [(result.loss, result.grad_norm) for result in results], held_out, dict(counters["stats"])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "layout",
    [{}, {"processes": 2, "tensor": 2, "sequence": True, "recompute": "selective"}],
    ids=["one", "tp2-sp-selective"],
)
def test_compiled_equals_eager(workers, tiny_recipe, layout, precision):
    recipe = tiny_recipe(precision=precision, **layout)
    size = recipe.parallel.processes
    eager, held_out, none = workers.run(size, train, recipe)[0]
    compiled_recipe = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, compile=True))
    found, found_held_out, stats = workers.run(size, train, compiled_recipe, timeout=900)[0]
    assert not none
    assert stats["unique_graphs"] >= 3  # norm, SwiGLU, RoPE
    tolerance = 2e-6 if precision == "fp32" else 4e-3  # facts: bf16 of two layouts differs by as much
    assert [loss for loss, _ in found] == pytest.approx([loss for loss, _ in eager], rel=tolerance)
    assert [norm for _, norm in found] == pytest.approx([norm for _, norm in eager], rel=3 * tolerance)
    assert found_held_out == pytest.approx(held_out, rel=tolerance)


def test_it_is_refused_without_a_compiler(tiny_recipe, monkeypatch):
    recipe = tiny_recipe()
    monkeypatch.setenv("CXX", "no-such-compiler")
    check_compiler(recipe)
    with pytest.raises(UserError, match=r"training\.compile: true, but no C\+\+ compiler: no-such-compiler is not on the PATH"):
        check_compiler(dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, compile=True)))
