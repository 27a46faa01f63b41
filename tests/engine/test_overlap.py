"""Communication that goes on while the model computes (NCCL's setting, here on gloo): the same bits, whatever comes between steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from megatron_snow.engine import Engine, read_model
from megatron_snow.model import build_snowcoder

TOKENS = torch.randint(0, 130, (8, 33), generator=torch.Generator().manual_seed(3))
MASK = torch.ones(8, 32, dtype=torch.bool)


def train(recipe, folder, overlap):
    """Steps with an evaluation, a save and a load between them: weights of a step must have arrived for each."""
    engine = Engine(recipe, build_snowcoder(recipe), overlap=overlap)
    mine = TOKENS.chunk(engine.data_size)[engine.data_rank]
    found = [engine.train_step(mine, 3e-3).loss, engine.evaluate(mine, MASK[: len(mine)])[0], engine.train_step(mine, 3e-3).loss]
    engine.save(Path(folder) / "middle")
    found += [engine.train_step(mine, 3e-3).loss, engine.train_step(mine, 3e-3).loss]
    engine.load(Path(folder) / "middle")
    found += [engine.train_step(mine, 3e-3).loss, engine.evaluate(mine, MASK[: len(mine)])[0]]
    engine.save(Path(folder) / "end")
    engine.close()
    return found


@pytest.mark.parametrize(
    "layout",
    [
        {"processes": 2, "distributed_optimizer": True},
        {"processes": 4, "pipeline": 2, "virtual_pipeline": 2, "distributed_optimizer": True},
    ],
    ids=["dp2-zero1", "dp2-pp2-vpp2-zero1"],
)
def test_overlap_changes_no_bit(workers, tiny_recipe, tmp_path, layout):
    recipe = tiny_recipe(precision="bf16", **layout)
    plain, overlapped = (workers.run(recipe.parallel.processes, train, recipe, tmp_path / str(on), on) for on in (False, True))
    assert overlapped == plain
    assert plain[0][3] == plain[0][5]  # the step after the save, and again after the load
    for part in ("middle", "end"):
        one, other = (read_model(tmp_path / str(on) / part) for on in (False, True))
        assert all(torch.equal(other[name], weight) for name, weight in one.items())
