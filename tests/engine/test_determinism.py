"""training.deterministic: the same command gives the same bits, of losses, gradient norms, weights and optimizer."""

from __future__ import annotations

import filecmp
from pathlib import Path

import pytest
import torch

from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder

TOKENS = torch.randint(0, 130, (8, 33), generator=torch.Generator().manual_seed(7))
DOCUMENTS = (torch.arange(32) >= 13).int().repeat(8, 1)
LAYOUTS = {
    "one": {"document_attention": True, "reset_positions": True},
    "dp2-zero1-bf16": {"processes": 2, "distributed_optimizer": True, "precision": "bf16"},
    "tp2-sp-pp2-vpp2": {"processes": 4, "tensor": 2, "sequence": True, "pipeline": 2, "virtual_pipeline": 2, "recompute": "selective"},
}


def train(recipe, folder):
    engine = Engine(recipe, build_snowcoder(recipe))
    tokens, documents = (part.chunk(engine.data_size)[engine.data_rank] for part in (TOKENS, DOCUMENTS))
    results = [engine.train_step(tokens, 3e-3, None, documents) for _ in range(4)]
    engine.save(Path(folder))
    asked = torch.are_deterministic_algorithms_enabled()
    engine.close()
    return [(result.loss, result.grad_norm) for result in results], asked


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_rerun_gives_the_same_bits(workers, tiny_recipe, tmp_path, layout):
    recipe = tiny_recipe(deterministic=True, **LAYOUTS[layout])
    runs = [workers.run(recipe.parallel.processes, train, recipe, tmp_path / name) for name in ("first", "second")]
    assert runs[0] == runs[1]
    assert all(asked for _results, asked in runs[0])
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert filecmp.cmpfiles(tmp_path / "first", tmp_path / "second", names, shallow=False) == (names, [], [])


def test_it_is_off_where_it_was_not_asked_for(workers, tiny_recipe, tmp_path):
    assert not workers.run(1, train, tiny_recipe(), tmp_path)[0][1]
