"""Shapes of every rank's weights and the number of parameters, against models that are built."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest

from megatron_snow.config.weights import rank_shapes
from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder
from megatron_snow.training.planning import count_parameters

LAYOUTS = {
    "one": {},
    "tp2": {"processes": 2, "tensor": 2},
    "pp2": {"processes": 2, "pipeline": 2},
    "pp2-untied": {"processes": 2, "pipeline": 2, "tie_embeddings": False},
    "pp2-interleaved": {"processes": 2, "pipeline": 2, "virtual_pipeline": 2},
    "tp2-pp2-sp": {"processes": 4, "tensor": 2, "pipeline": 2, "sequence": True},
    "pp4": {"processes": 4, "pipeline": 4},
    "tp2-dp2-zero1": {"processes": 4, "tensor": 2, "distributed_optimizer": True},
}


def built(recipe: Any) -> tuple[dict[str, tuple[int, ...]], int]:
    """The weights that this rank holds, layers counted in the whole model; parameters of the whole model."""
    chunks = []

    def build(groups: Any, chunk: int) -> Any:
        chunks.append(build_snowcoder(recipe)(groups, chunk))
        return chunks[-1]

    engine = Engine(recipe, build)
    shapes = {whole_name(model, name): tuple(weight.shape) for model in chunks for name, weight in model.named_parameters()}
    count = engine.parameter_count
    engine.close()
    return shapes, count


def whole_name(model: Any, name: str) -> str:
    """layers.3 of a stage is another layer of the model."""
    parts = name.split(".")
    if "layers" in parts:
        parts[2] = str(int(parts[2]) + model.decoder.layers[0].layer_number - 1)
    return ".".join(parts)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shapes_are_those_of_real_ranks(workers, tiny_recipe, layout):
    recipe = tiny_recipe(**LAYOUTS[layout])
    ranks = workers.run(recipe.parallel.processes, built, recipe)
    ranks_of_a_stage = len(ranks) // recipe.parallel.pipeline
    counted = count_parameters(recipe)
    for rank, (shapes, count) in enumerate(ranks):
        assert rank_shapes(recipe.model, 130, recipe.parallel, rank // ranks_of_a_stage) == shapes
        assert count == counted.total + counted.padding


@pytest.mark.parametrize("tied", [True, False])
def test_all_ranks_of_a_tensor_group_hold_the_whole(tiny_recipe, tied):
    """64 ranks: the parts of the split weights add up to the model, and nothing else is held twice."""
    recipe = tiny_recipe(processes=64, tensor=2, pipeline=4, tie_embeddings=tied)
    stages = [rank_shapes(recipe.model, 130, recipe.parallel, stage) for stage in range(4)]
    held = sum(prod(shape) * (2 if len(shape) > 1 else 1) for shapes in stages for shape in shapes.values())
    counted = count_parameters(recipe)
    copies = 256 * 64 if tied else 0  # the last stage's copy of the embedding, 130 rows padded to 256
    assert held == counted.total + counted.padding + copies
