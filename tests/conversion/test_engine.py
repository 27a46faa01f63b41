"""With the engine: what it trained converts, and it goes on from what was imported."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.cli.main import run_verb
from megatron_snow.config import load_recipe, save_recipe
from megatron_snow.conversion import from_huggingface, to_huggingface
from megatron_snow.engine import Engine, read_model
from megatron_snow.model import build_snowcoder


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_trained_weights_are_exported_in_their_dtype(
    tmp_path: Path, make_llama: Callable[..., Path], tokenizer_model: Path, precision: str
) -> None:
    imported = from_huggingface(make_llama(tmp_path / "llama", dtype="float32"), tmp_path / "imported")
    recipe = load_recipe(imported / "recipe.yaml")
    recipe = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, precision=precision, micro_batch_size=1))
    engine = Engine(recipe, build_snowcoder(recipe))
    try:
        engine.load(imported / "model", optimizer=False)
        tokens = torch.randint(0, 700, (1, 129), generator=torch.Generator().manual_seed(0))
        losses = [engine.train_step(tokens, 1e-2).loss for _ in range(3)]

        def write(folder: Path) -> None:
            engine.save(folder / "model")
            save_recipe(recipe, folder / "recipe.yaml")
            shutil.copyfile(tokenizer_model, folder / "tokenizer.model")

        CheckpointStore(tmp_path / "run" / "checkpoints", keep=1).save(3, write, {"tokens": 384, "phase": "continued"}, keep_forever=False)
    finally:
        engine.close()
    assert losses[2] < losses[0]
    check = to_huggingface(tmp_path / "run", tmp_path / "out")
    assert check.relative_difference <= 1e-5
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32 if precision == "fp32" else torch.bfloat16}
    before = read_model(imported / "model")["decoder.final_layernorm.weight"]
    assert not torch.equal(weights["model.norm.weight"].float(), before)  # it is the trained model, not the imported one


def test_verbs(tmp_path: Path, make_llama: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_llama(tmp_path / "llama")
    assert run_verb("convert_from_hf", ["--model", str(folder), "--output", str(tmp_path / "run" / "checkpoints")]) == 0
    assert run_verb("convert_to_hf", ["--checkpoint", str(tmp_path / "run"), "--output", str(tmp_path / "hf")]) == 0
    assert "logits of 512 tokens differ by at most" in capsys.readouterr().out
    assert run_verb("convert_to_hf", ["--checkpoint", str(tmp_path / "none"), "--output", str(tmp_path / "hf")]) == 2
    assert "error: " in capsys.readouterr().err
