"""Hugging Face -> checkpoint -> Hugging Face: bit-identical, the logits checked; and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import megatron_snow
from megatron_snow.common.errors import UserError
from megatron_snow.conversion import from_huggingface, to_huggingface
from megatron_snow.conversion.from_huggingface import read_config
from megatron_snow.tokenizers import load_tokenizer, train_byte_level, write_huggingface_tokenizer

MakeLlama = Callable[..., Path]


@pytest.mark.parametrize(("groups", "tied", "dtype"), [(4, True, "float32"), (2, False, "float32"), (1, True, "bfloat16")])
def test_round_trip(tmp_path: Path, make_llama: MakeLlama, groups: int, tied: bool, dtype: str) -> None:
    start = make_llama(tmp_path / "start", groups, tied, dtype)
    checkpoint = from_huggingface(start, tmp_path / "run" / "checkpoints")
    check = to_huggingface(tmp_path / "run", tmp_path / "back")
    assert checkpoint.name == "step-00000000"
    before, after = (load_file(folder / "model.safetensors") for folder in (start, tmp_path / "back"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)
    assert check.tokens == 512
    assert check.relative_difference <= 1e-5
    assert check.other_choices == 0
    assert check.largest_logit > 1  # not a comparison of zeros
    assert read_config(start / "config.json") == read_config(tmp_path / "back" / "config.json")
    record = json.loads((tmp_path / "back" / "conversion.json").read_text())
    assert record["logit_check"]["max_difference"] == check.max_difference
    assert record["dtype"] == dtype
    assert (tmp_path / "back" / "tokenizer.model").read_bytes() == (start / "tokenizer.model").read_bytes()


def test_transformers_loads_and_completes_like_the_original(tmp_path: Path, make_llama: MakeLlama) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    start = make_llama(tmp_path / "start")
    to_huggingface(from_huggingface(start, tmp_path / "checkpoints"), tmp_path / "back")
    texts = []
    for folder in (start, tmp_path / "back"):
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        ids = tokenizer("def decode(self, s):", return_tensors="pt")["input_ids"]
        output = model.generate(ids, max_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0)
        assert output.size(1) == ids.size(1) + 64
        texts.append(tokenizer.decode(output[0]))
    assert texts[0] == texts[1]


def test_a_byte_level_tokenizer_goes_with_the_weights(tmp_path: Path, make_llama: MakeLlama) -> None:
    from transformers import AutoTokenizer

    start = make_llama(tmp_path / "start")
    (start / "tokenizer.model").unlink()
    texts = [path.read_text(encoding="utf-8") for path in sorted(Path(megatron_snow.__file__).parent.glob("conversion/*.py"))]
    train_byte_level(texts, 700, tmp_path / "tokenizer.json")
    write_huggingface_tokenizer(tmp_path / "tokenizer.json", start)
    checkpoint = from_huggingface(start, tmp_path / "run" / "checkpoints")
    assert [path.name for path in checkpoint.glob("tokenizer*")] == ["tokenizer.json"]
    to_huggingface(tmp_path / "run", tmp_path / "back")
    assert not (tmp_path / "back" / "tokenizer.model").exists()
    ours, theirs = load_tokenizer(tmp_path / "tokenizer.json"), AutoTokenizer.from_pretrained(tmp_path / "back")
    assert [theirs(text)["input_ids"] for text in texts] == [ours.encode(text) for text in texts]
    assert json.loads((tmp_path / "back" / "config.json").read_text())["eos_token_id"] == ours.eod


def test_a_wrong_weight_does_not_pass(tmp_path: Path, make_llama: MakeLlama, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = from_huggingface(make_llama(tmp_path / "start"), tmp_path / "checkpoints")
    from megatron_snow.conversion import to_huggingface as function
    from megatron_snow.conversion.mapping import to_huggingface_weights

    def swapped(*arguments: object) -> dict[str, torch.Tensor]:
        weights = to_huggingface_weights(*arguments)  # type: ignore[arg-type]
        k, v = "model.layers.1.self_attn.k_proj.weight", "model.layers.1.self_attn.v_proj.weight"
        return weights | {k: weights[v], v: weights[k]}

    monkeypatch.setitem(function.__globals__, "to_huggingface_weights", swapped)
    with pytest.raises(UserError, match="is not the same model"):
        to_huggingface(checkpoint, tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("attention_bias", True, "attention_bias is True; only False can be converted"),
        ("model_type", "mistral", "model_type is 'mistral'; only 'llama'"),
        ("hidden_act", "gelu", "hidden_act is 'gelu'; only 'silu'"),
        ("head_dim", 32, "head_dim is 32; only 16"),
        ("rope_scaling", {"type": "linear", "factor": 2.0}, "rope_scaling is .*linear.*; only plain RoPE"),
        ("rope_parameters", {"rope_type": "llama3", "rope_theta": 1e4}, "rope_parameters is .*llama3.*; only plain RoPE"),
        ("hidden_size", None, "hidden_size is None; expected a whole number"),
    ],
)
def test_configurations_of_other_models_are_refused(tmp_path: Path, make_llama: MakeLlama, key: str, value: object, message: str) -> None:
    folder = make_llama(tmp_path / "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(UserError, match=f"config.json: {message}"):
        from_huggingface(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_that_do_not_fit_are_named(tmp_path: Path, make_llama: MakeLlama) -> None:
    folder = make_llama(tmp_path / "llama")
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {"model.norm.weight": tensors["model.norm.weight"].half()}, weights)
    with pytest.raises(UserError, match="weights are float16, float32; all must be"):
        from_huggingface(folder, tmp_path / "out")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match=r"model.safetensors: damaged safetensors"):
        from_huggingface(folder, tmp_path / "out")
    weights.unlink()
    with pytest.raises(UserError, match=r"model.safetensors: missing; pickled weights"):
        from_huggingface(folder, tmp_path / "out")
    for name in ("tokenizer.model", "tokenizer.json"):
        (folder / name).unlink()
    with pytest.raises(UserError, match=r"no tokenizer.model, tokenizer.json or vocab.json with merges.txt in this folder"):
        from_huggingface(folder, tmp_path / "out")
    with pytest.raises(UserError, match=r"config.json: missing"):
        from_huggingface(tmp_path, tmp_path / "out")


def test_where_there_is_no_checkpoint_or_other_files_lie(tmp_path: Path, make_llama: MakeLlama) -> None:
    with pytest.raises(UserError, match="no checkpoint there"):
        to_huggingface(tmp_path, tmp_path / "out")
    checkpoint = from_huggingface(make_llama(tmp_path / "llama"), tmp_path / "checkpoints")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="holds files that no conversion wrote"):
        to_huggingface(checkpoint, tmp_path / "precious")
    assert (tmp_path / "precious" / "thesis.tex").exists()
    to_huggingface(checkpoint, tmp_path / "out")
    to_huggingface(checkpoint, tmp_path / "out")  # its own output may be replaced
    damaged = sorted((checkpoint / "model").glob("*.distcp"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
    with pytest.raises(UserError, match=damaged.name):
        to_huggingface(checkpoint, tmp_path / "out2")
