"""A Hugging Face Llama folder as a checkpoint that the engine loads in any layout.

Only safetensors are read: pickled weights could run code. A configuration that our model does not have is refused
by the name of its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import read_json
from megatron_snow.config import Blend, Curve, Model, Phase, Recipe, Tokenizer, Training, save_recipe
from megatron_snow.conversion.mapping import to_megatron_weights
from megatron_snow.tokenizers import load_tokenizer

# Keys that change what a Llama computes, with the one value that our model has.
_FIXED = {"model_type": "llama", "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "pretraining_tp": 1}
_ROPE = ("rope_scaling", "rope_parameters")
_NEEDED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16"}


def from_huggingface(folder: Path, output: Path) -> Path:
    """Write the model of a Hugging Face Llama `folder` as output/step-00000000; returns that path.

    UserError names the key, weight or file that does not fit. The recipe beside the weights is a start for continued
    pretraining: its model, tokenizer and precision are the folder's, its phase a stand-in.
    """
    from megatron_snow.engine import write_model

    model, vocab_size = read_config(folder / "config.json")
    tokenizer = load_tokenizer(folder, vocab_size, engine="reference")
    weights = read_safetensors(folder)
    if model.tie_embeddings:  # some writers store the tied weight twice
        weights.pop("lm_head.weight", None)
    dtype = _common_dtype(folder, weights)
    tensors = to_megatron_weights(weights, model, vocab_size)
    recipe = _recipe(folder, model, vocab_size, _PRECISIONS[dtype])

    def write(checkpoint: Path) -> None:
        write_model(checkpoint / "model", tensors, model, vocab_size)
        save_recipe(recipe, checkpoint / "recipe.yaml")
        tokenizer.save(checkpoint)

    state = {"samples": 0, "tokens": 0, "phase": recipe.phases[0].name, "versions": {"imported_from": folder.resolve().name}}
    return CheckpointStore(output, keep=1).save(0, write, state, keep_forever=True)


def read_config(path: Path) -> tuple[Model, int]:
    """(model, vocabulary size) of a config.json; UserError with the key and value that our model does not have."""
    if not path.is_file():
        raise UserError(f"{path}: missing; give the folder of a Hugging Face Llama model")
    config = read_json(path)
    for key in _NEEDED:
        if not isinstance(config.get(key), int):
            raise UserError(f"{path}: {key} is {config.get(key)!r}; expected a whole number")
    size = config["hidden_size"] // config["num_attention_heads"]
    for key, value in {**_FIXED, "head_dim": size}.items():
        if config.get(key, value) not in (value, None) or (key == "model_type" and key not in config):
            raise UserError(f"{path}: {key} is {config.get(key)!r}; only {value!r} can be converted")
    model = Model(
        num_layers=config["num_hidden_layers"],
        hidden_size=config["hidden_size"],
        ffn_hidden_size=config["intermediate_size"],
        num_attention_heads=config["num_attention_heads"],
        num_query_groups=config.get("num_key_value_heads") or config["num_attention_heads"],
        seq_length=config.get("max_position_embeddings", 2048),
        tie_embeddings=config.get("tie_word_embeddings", False),
        rope_theta=_rope_theta(path, config),
        norm_eps=config.get("rms_norm_eps", 1e-6),
        init_std=config.get("initializer_range", 0.02),
    )
    return model, config["vocab_size"]


def _rope_theta(path: Path, config: Mapping[str, Any]) -> float:
    """theta of plain RoPE, from the place of transformers before or after version 5."""
    theta = config.get("rope_theta") or 10_000.0
    for key in _ROPE:
        rope = config.get(key) or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise UserError(f"{path}: {key} is {rope!r}; only plain RoPE (rope_type 'default') can be converted")
        theta = rope.get("rope_theta", theta)
    return float(theta)


def read_safetensors(folder: Path) -> dict[str, Tensor]:
    """All weights of a folder: model.safetensors, or the shards that model.safetensors.index.json lists."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    names = sorted(set(read_json(index)["weight_map"].values())) if index.is_file() else [single.name]
    weights: dict[str, Tensor] = {}
    for name in names:
        path = folder / Path(name).name
        if not path.is_file():
            hint = "; pickled weights (.bin, .pt) are not read, save the model as safetensors" if path == single else ""
            raise UserError(f"{path}: missing{hint}")
        try:
            with safe_open(path, "pt") as file:
                weights |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise UserError(f"{path}: damaged safetensors file ({error}); fetch it again") from error
    return {name: tensor for name, tensor in weights.items() if not name.endswith("rotary_emb.inv_freq")}


def _common_dtype(folder: Path, weights: Mapping[str, Tensor]) -> torch.dtype:
    dtypes = {tensor.dtype for tensor in weights.values()}
    if len(dtypes) != 1 or not dtypes <= set(_PRECISIONS):
        found = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes)) or "none"
        raise UserError(f"{folder}: weights are {found}; all must be float32 or all bfloat16 to be kept bit for bit")
    return dtypes.pop()


def _recipe(folder: Path, model: Model, vocab_size: int, precision: Any) -> Recipe:
    phase = Phase("continued", (Blend("general"),), tokens=model.seq_length, lr=Curve("constant", peak=1e-4))
    return Recipe(
        name=folder.resolve().name,
        workspace=f"runs/{folder.resolve().name}",
        model=model,
        tokenizer=Tokenizer(vocab_size),
        training=Training(global_batch_size=1, micro_batch_size=1, precision=precision),
        phases=(phase,),
    )
