"""A step in which some targets do not count: the mean is over those that do, of all ranks, however uneven their parts are."""

from __future__ import annotations

import pytest
import torch

from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder

TOKENS = torch.randint(0, 130, (8, 33), generator=torch.Generator().manual_seed(3))
# Rows 0 to 3 count nearly whole, rows 4 to 7 hardly: ranks that each took a mean of their own would weigh them alike.
MASK = torch.arange(32)[None, :] < torch.tensor([32, 31, 32, 30, 1, 2, 0, 3])[:, None]


def train_masked(recipe, mask, steps=3):
    engine = Engine(recipe, build_snowcoder(recipe))
    mine = slice(8 * engine.data_rank // engine.data_size, 8 * (engine.data_rank + 1) // engine.data_size)
    results = [engine.train_step(TOKENS[mine], 3e-3, None if mask is None else mask[mine]) for _ in range(steps)]
    engine.close()
    return [(result.loss, result.grad_norm) for result in results]


def masked_loss(recipe, documents=None):
    """(loss of the first step, mean by `evaluate` of the same targets)."""
    engine = Engine(recipe, build_snowcoder(recipe))
    total, count = engine.evaluate(TOKENS, MASK, documents)
    loss = engine.train_step(TOKENS, 3e-3, MASK, documents).loss
    engine.close()
    return loss, total / count


@pytest.mark.parametrize(
    "layout",
    [{"processes": 2}, {"processes": 4, "distributed_optimizer": True}, {"processes": 2, "pipeline": 2}, {"processes": 2, "context": 2}],
    ids=["dp2", "dp4-zero1", "pp2", "cp2"],
)
def test_every_layout_takes_the_same_step(workers, tiny_recipe, layout):
    expected = torch.tensor(workers.run(1, train_masked, tiny_recipe(), MASK)[0])
    ranks = workers.run(layout["processes"], train_masked, tiny_recipe(**layout), MASK)
    assert all(rank == ranks[0] for rank in ranks)
    torch.testing.assert_close(torch.tensor(ranks[0])[:, 0], expected[:, 0], rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.tensor(ranks[0])[:, 1], expected[:, 1], rtol=1e-5, atol=0)


def test_the_loss_is_that_of_the_targets_that_count(workers, tiny_recipe):
    loss, mean = workers.run(1, masked_loss, tiny_recipe())[0]
    assert loss == pytest.approx(mean, rel=1e-6)


def test_evaluation_sees_documents_as_training_does(workers, tiny_recipe):
    recipe, documents = tiny_recipe(document_attention=True), (torch.arange(32) >= 13).int().repeat(8, 1)
    loss, mean = workers.run(1, masked_loss, recipe, documents)[0]
    assert loss == pytest.approx(mean, rel=1e-6)
    assert abs(loss / workers.run(1, masked_loss, tiny_recipe())[0][0] - 1) > 1e-4


def test_a_mask_of_all_is_no_mask(workers, tiny_recipe):
    recipe = tiny_recipe()
    unmasked, masked, part = (torch.tensor(workers.run(1, train_masked, recipe, mask)[0]) for mask in (None, torch.ones_like(MASK), MASK))
    torch.testing.assert_close(masked, unmasked, rtol=1e-6, atol=0)  # summed in another order
    assert (part[:, 0] - unmasked[:, 0]).abs().max() > 1e-2
