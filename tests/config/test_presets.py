"""Presets: each has the parameters that its name says; a recipe may override keys; an unknown one is refused."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest
import yaml

import megatron_snow
from megatron_snow.common.errors import UserError
from megatron_snow.config import Model, load_recipe, recipe_to_dict, save_recipe
from megatron_snow.config.presets import PRESETS
from megatron_snow.config.weights import weight_shapes

RECIPES = Path(megatron_snow.__file__).parent.parent / "examples" / "recipes"
PAPER = RECIPES / "snowcoder_1b3.yaml"


def parameters(model: Model, vocab_size: int = 64_000) -> int:
    return sum(prod(shape) for shape in weight_shapes(model, vocab_size).values())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_parameters_of_its_name(name: str) -> None:
    named = {"tiny": 15e6, "30m": 30e6, "135m": 135e6, "350m": 350e6, "1b3": 1.364e9, "3b": 3e9, "7b": 6.74e9, "13b": 13e9}
    assert parameters(Model(**PRESETS[name])) == pytest.approx(named[name.removeprefix("snowcoder-")], rel=0.03)


def test_the_papers_preset_is_the_papers_model() -> None:
    recipe = load_recipe(PAPER)
    assert load_recipe(PAPER, ["model.preset=snowcoder-1b3"]).model == recipe.model
    assert parameters(recipe.model) == 1_364_297_728  # Table 1: 1.3 B


@pytest.mark.parametrize(("name", "count"), [("snowcoder-7b", 6_738_415_616), ("snowcoder-13b", 13_015_864_320)])
def test_llama_2s_shapes_have_llama_2s_parameters(name: str, count: int) -> None:
    """With its vocabulary of 32,000 and its own output layer: what the published checkpoints hold."""
    assert parameters(Model(**PRESETS[name], tie_embeddings=False), 32_000) == count


def test_a_recipe_overrides_keys_of_a_preset(tmp_path: Path) -> None:
    tree = yaml.safe_load(PAPER.read_text()) | {"model": {"preset": "snowcoder-350m", "seq_length": 1024, "tie_embeddings": False}}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree))
    recipe = load_recipe(path, ["model.num_query_groups=4"])
    assert recipe.model == Model(24, 1024, 2560, 16, 4, 1024, tie_embeddings=False)
    save_recipe(recipe, tmp_path / "resolved.yaml")  # which has the keys in full
    assert "preset" not in recipe_to_dict(recipe)["model"]
    assert load_recipe(tmp_path / "resolved.yaml") == recipe


def test_set_replaces_the_whole_model() -> None:
    """Keys of the file's model would else come before those of the preset, and nothing would change."""
    recipe = load_recipe(PAPER, ["model.preset=snowcoder-30m", "model.seq_length=512"])
    assert recipe.model == Model(**PRESETS["snowcoder-30m"] | {"seq_length": 512})


def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"model\.preset: no preset snowcoder-1b; did you mean snowcoder-1b3\?; there are snowcoder-tiny"):
        load_recipe(PAPER, ["model.preset=snowcoder-1b"])
