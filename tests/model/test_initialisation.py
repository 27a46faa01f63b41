"""Initial weights: the same for every layout, of the scales that the recipe says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from megatron_snow.config.weights import EMBEDDING, padded_vocab_size, weight_shapes
from megatron_snow.engine import Engine, read_model
from megatron_snow.model import build_snowcoder
from megatron_snow.model.initialisation import initial_weight, shard_of, split_dimension

LAYER = "decoder.layers.2."


@pytest.fixture
def model(tiny_recipe):
    return tiny_recipe().model


def test_a_weight_depends_on_seed_and_name_alone(model):
    first = initial_weight(EMBEDDING, (130, 64), 1, model)
    assert torch.equal(first, initial_weight(EMBEDDING, (130, 64), 1, model))
    assert not torch.equal(first, initial_weight(EMBEDDING, (130, 64), 2, model))
    assert not torch.equal(first, initial_weight("output_layer.weight", (130, 64), 1, model))


def test_scales(model):
    shapes = weight_shapes(model, 1000)
    for name, std in ((EMBEDDING, 0.05), (LAYER + "mlp.linear_fc1.weight", 0.05), (LAYER + "mlp.linear_fc2.weight", 0.05 / 8**0.5)):
        assert float(initial_weight(name, shapes[name], 0, model).std()) == pytest.approx(std, rel=0.03)
    assert torch.all(initial_weight(LAYER + "input_layernorm.weight", (64,), 0, model) == 1)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_shards_make_the_whole(model, size):
    for name, shape in weight_shapes(model, 130).items():
        whole = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        shards = [shard_of(name, whole, rank, size, padded_vocab_size(130)) for rank in range(size)]
        if whole.dim() == 1:
            assert all(torch.equal(shard, whole) for shard in shards)
        elif name.endswith("linear_fc1.weight"):
            gates, ups = zip(*(shard.chunk(2) for shard in shards))
            assert torch.equal(torch.cat((*gates, *ups)), whole)
        else:
            joined = torch.cat(shards, dim=split_dimension(name))
            assert torch.equal(joined[: shape[0]], whole)
            assert not joined[shape[0] :].any(), "padding is not zero"


def save_untrained(recipe, folder):
    engine = Engine(recipe, build_snowcoder(recipe))
    engine.save(Path(folder))
    engine.close()


@pytest.mark.parametrize("tied", [True, False])
def test_every_layout_starts_from_the_same_bits(workers, tiny_recipe, tmp_path, tied):
    layouts = ({}, {"processes": 4, "tensor": 2, "pipeline": 2, "virtual_pipeline": 2}, {"processes": 2, "pipeline": 2})
    for number, layout in enumerate(layouts):
        recipe = tiny_recipe(tie_embeddings=tied, **layout)
        workers.run(recipe.parallel.processes, save_untrained, recipe, tmp_path / str(number))
    one, *others = (read_model(tmp_path / str(number)) for number in range(len(layouts)))
    for other in others:
        assert all(torch.equal(other[name], weight) for name, weight in one.items())
