"""Every layout computes what one process computes: losses, gradient norms and weights of five steps in fp32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from megatron_snow.engine import Engine, read_model
from megatron_snow.model import build_snowcoder

STEPS = 5
LAYOUTS = {
    "dp2": {"processes": 2},
    "dp2-zero1": {"processes": 2, "distributed_optimizer": True},
    "tp2": {"processes": 2, "tensor": 2},
    "tp2-sp": {"processes": 2, "tensor": 2, "sequence": True},
    "pp2": {"processes": 2, "pipeline": 2},
    "cp2": {"processes": 2, "context": 2},
    "pp4": {"processes": 4, "pipeline": 4},
    "tp2-pp2": {"processes": 4, "tensor": 2, "pipeline": 2},
    "tp2-dp2": {"processes": 4, "tensor": 2},
    "tp2-sp-cp2": {"processes": 4, "tensor": 2, "context": 2, "sequence": True},
    "pp2-dp2-zero1": {"processes": 4, "pipeline": 2, "distributed_optimizer": True},
}


def train(recipe, folder):
    """Five steps on one batch, of which the rank reads its part; [(loss, gradient norm)], and the weights saved."""
    engine = Engine(recipe, build_snowcoder(recipe))
    batch = torch.randint(0, 130, (8, 33), generator=torch.Generator().manual_seed(7))
    results = [engine.train_step(batch.chunk(engine.data_size)[engine.data_rank], 3e-3) for _ in range(STEPS)]
    engine.save(Path(folder))
    engine.close()
    return [(result.loss, result.grad_norm) for result in results]


def largest_difference(weights, others):
    """Largest |a - b| over largest |b| among the weights."""
    assert weights.keys() == others.keys()
    return max(float((weights[name] - others[name]).abs().max() / others[name].abs().max()) for name in weights)


@pytest.fixture(scope="module")
def one_process(workers, tiny_recipe, tmp_path_factory):
    """tie_embeddings -> (results, weights) of one process."""
    found = {}
    for tied in (True, False):
        folder = tmp_path_factory.mktemp("one")
        found[tied] = workers.run(1, train, tiny_recipe(tie_embeddings=tied), folder)[0], read_model(folder)
    return found


CASES = [(layout, True) for layout in LAYOUTS] + [("tp2-pp2", False), ("pp2-dp2-zero1", False)]


@pytest.mark.parametrize(("layout", "tied"), CASES)
def test_layout_equals_one_process(workers, tiny_recipe, tmp_path, one_process, layout, tied):
    recipe = tiny_recipe(tie_embeddings=tied, **LAYOUTS[layout])
    ranks = workers.run(recipe.parallel.processes, train, recipe, tmp_path)
    assert all(results == ranks[0] for results in ranks), "ranks report different losses"
    expected, weights = one_process[tied]
    (losses, norms), (expected_losses, expected_norms) = torch.tensor(ranks[0]).t(), torch.tensor(expected).t()
    torch.testing.assert_close(losses, expected_losses, rtol=3e-7, atol=0)  # reached: 6e-8
    torch.testing.assert_close(norms, expected_norms, rtol=1e-6, atol=0)  # reached: 3e-7
    assert largest_difference(read_model(tmp_path), weights) < 3e-5  # reached: 1.4e-5


def test_training_learns(one_process):
    """The parity above would hold for a model that does nothing."""
    results, _weights = one_process[True]
    assert results[-1][0] < results[0][0]
    assert all(norm > 0.01 for _loss, norm in results)
