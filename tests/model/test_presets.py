"""Every preset as megatron-core builds it, without memory for its weights: the parameters are those that are counted."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from torch._subclasses.fake_tensor import FakeTensorMode

from megatron_snow.config import Model, Tokenizer
from megatron_snow.config.presets import PRESETS
from megatron_snow.engine.device import prepare_device
from megatron_snow.engine.groups import build_groups, leave_processes
from megatron_snow.model import SnowCoder
from megatron_snow.training.planning import count_parameters


def parameters_of(recipes: list[Any]) -> list[int]:
    prepare_device()
    groups = build_groups(recipes[0].parallel, recipes[0].seed)
    counts = []
    for recipe in recipes:
        with FakeTensorMode():
            counts.append(sum(weight.numel() for weight in SnowCoder(recipe, groups).parameters()))
    leave_processes(False)
    return counts


@pytest.mark.parametrize("tied", [True, False])
def test_presets_have_the_parameters_that_are_counted(workers, tiny_recipe, tied):
    tiny = dataclasses.replace(tiny_recipe(), tokenizer=Tokenizer(vocab_size=64_000))
    recipes = [dataclasses.replace(tiny, model=Model(**shape, tie_embeddings=tied)) for shape in PRESETS.values()]
    counts = [count_parameters(recipe) for recipe in recipes]
    assert [count.padding for count in counts] == [0] * len(PRESETS)  # 64,000 is a multiple of 128
    assert workers.run(1, parameters_of, recipes)[0] == [count.total for count in counts]
