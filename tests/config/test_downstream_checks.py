"""Rules of evaluation while training: each names its key, value and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

import megatron_snow
from megatron_snow.common.errors import UserError
from megatron_snow.config import load_recipe

TINY = Path(megatron_snow.__file__).parent.parent / "examples" / "recipes" / "tiny_cpu.yaml"


def test_by_default_nothing_is_evaluated_while_training() -> None:
    recipe = load_recipe(TINY)
    assert not recipe.evaluation.downstream.enabled
    assert load_recipe(TINY, ["evaluation.downstream.every=64"]).evaluation.downstream.enabled
    assert load_recipe(TINY, ["evaluation.downstream.phase_ends=true"]).downstream_benchmarks == ("humaneval",)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("every=33", "every: 33 is no multiple of training.save_interval (32): a checkpoint is evaluated; take 32"),
        ("every=-32", "every: -32 is below 0"),
        ("limit=-1", "limit: -1 is below 0"),
        ("threads=0", "threads: 0 is below 1"),
        ("device=7", "device: 7 is not text"),
        ("benchmarks=[a/x.jsonl, b/x.jsonl]", "benchmarks: two are called x"),
        ("commands=['evaluate {reslt} {result}']", "commands[0]: {reslt} is no place that is filled in; did you mean result?"),
        ("commands=['evaluate {result']", "commands[0]: 'evaluate {result': "),
        ("commands=['', 'evaluate {result}']", "commands[0]: is empty"),
        ("commands=['evaluate']", "commands: none names {result}"),
        ("commands=[]", "commands: none names {result}"),
    ],
)
def test_rules(setting: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(TINY, [f"evaluation.downstream.{setting}"])
    assert f"evaluation.downstream.{message}" in str(caught.value)


def test_something_must_be_evaluated() -> None:
    with pytest.raises(UserError, match=r"evaluation\.downstream\.benchmarks: none given, nor in evaluation\.benchmarks"):
        load_recipe(TINY, ["evaluation.benchmarks=[]", "evaluation.downstream.phase_ends=true"])
