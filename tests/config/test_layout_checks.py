"""Layouts that do not fit: every broken rule at once, each with the nearest values that keep it."""

from __future__ import annotations

from pathlib import Path

import pytest

import megatron_snow
from megatron_snow.common.errors import UserError
from megatron_snow.config import load_recipe

PAPER = Path(megatron_snow.__file__).parent.parent / "examples" / "recipes" / "snowcoder_1b3.yaml"


def problems_of(*overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_recipe(PAPER, overrides)
    return str(caught.value).split("\n  ")[1:]


@pytest.mark.parametrize(
    ("overrides", "told", "remedy"),
    [
        (
            "model.num_attention_heads=24 model.num_query_groups=24",
            "model.num_attention_heads: 24 does not divide hidden_size 2048",
            "use 16 or 32",
        ),
        (
            "model.hidden_size=2032",
            "model.num_attention_heads: 16 gives an odd head size, 127, and RoPE rotates pairs",
            "use 8 or 127",
        ),
        (
            "model.num_query_groups=5",
            "model.num_query_groups: 5 does not divide num_attention_heads 16",
            "use 4 or 8",
        ),
        (
            "parallel.tensor=3 parallel.processes=3",
            "parallel.tensor: 3 does not divide model.num_query_groups 16, model.ffn_hidden_size 5632, the padded vocabulary's 128",
            "use 2 or 4",
        ),
        (
            "parallel.tensor=32",
            "parallel.tensor: 32 does not divide model.num_query_groups 16",
            "use 16",
        ),
        (
            "parallel.pipeline=5 parallel.processes=5",
            "parallel.pipeline: 5 does not divide model.num_layers 24",
            "use 4 or 6",
        ),
        (
            "parallel.pipeline=4 parallel.virtual_pipeline=4",
            "parallel.virtual_pipeline: 4 does not divide the 6 layers of a pipeline rank",
            "use 3 or 6",
        ),
        (
            "parallel.virtual_pipeline=2",
            "parallel.virtual_pipeline: 2 needs parallel.pipeline above 1",
            "use 1",
        ),
        (
            "parallel.context=3 parallel.processes=3",
            "parallel.context: 3 needs model.seq_length 8192 to be a multiple of twice it",
            "use 2 or 4",
        ),
        (
            "parallel.tensor=4 parallel.processes=6",
            "parallel.processes: 6 is not a multiple of tensor x pipeline x context = 4",
            "the nearest are 4 and 8",
        ),
        (
            "parallel.tensor=4 parallel.processes=2",
            "parallel.processes: 2 is not a multiple of tensor x pipeline x context = 4",
            "the nearest is 4",
        ),
        (
            "parallel.sequence=true",
            "parallel.sequence: true needs parallel.tensor above 1",
            "set it to false",
        ),
        (
            "parallel.sequence=true parallel.tensor=8 model.seq_length=8196",
            "parallel.sequence: tensor 8 does not divide a rank's 8196 positions",
            "set it to false, or model.seq_length to 8200",
        ),
        (
            "parallel.processes=512",
            "training.global_batch_size: 512 is not a multiple of micro_batch_size 2 x data-parallel ranks 512",
            "use 1024, or training.micro_batch_size 1",
        ),
        (
            "training.global_batch_size=500",
            "training.global_batch_size: 500 is not a multiple of micro_batch_size 2 x data-parallel ranks 64",
            "use 384 or 512",
        ),
        (
            "parallel.processes=256 parallel.pipeline=4 parallel.virtual_pipeline=2 training.global_batch_size=768",
            "training.global_batch_size: 768 is 6 micro-batches of a data-parallel rank; "
            "parallel.virtual_pipeline needs a multiple of the 4 pipeline ranks",
            "use 512 or 1024",
        ),
    ],
)
def test_each_rule_names_the_nearest_values(overrides: str, told: str, remedy: str) -> None:
    assert f"{told}; {remedy}" in problems_of(*overrides.split())


@pytest.mark.parametrize("value", [384, 512])
def test_the_values_that_are_named_are_valid(value: int) -> None:
    load_recipe(PAPER, [f"training.global_batch_size={value}"])
    load_recipe(PAPER, ["training.micro_batch_size=1", "parallel.processes=512"])
    load_recipe(PAPER, ["parallel.pipeline=4", "parallel.virtual_pipeline=3"])


def test_every_broken_rule_is_told_at_once() -> None:
    problems = problems_of(
        "model.num_query_groups=5", "parallel.tensor=3", "parallel.pipeline=5", "parallel.context=3", "training.global_batch_size=7"
    )
    keys = {problem.split(":")[0] for problem in problems}
    parallel = {f"parallel.{key}" for key in ("processes", "tensor", "pipeline", "context")}
    assert keys == {"model.num_query_groups", *parallel, "training.global_batch_size"}


def test_zeros_are_told_together_and_divide_nothing() -> None:
    problems = problems_of("parallel.tensor=0", "parallel.context=-1", "model.num_layers=0", "training.micro_batch_size=0")
    assert problems == [
        "model.num_layers: 0 is below 1",
        "parallel.tensor: 0 is below 1",
        "parallel.context: -1 is below 1",
        "training.micro_batch_size: 0 is below 1",
    ]
