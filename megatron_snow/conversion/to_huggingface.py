"""A checkpoint as a Hugging Face Llama folder: safetensors, configuration, tokenizer; checked before it gets its name.

The weights are the model's parameters in the dtype that trained: of a bf16 run the bf16 weights that the forward pass
used, not the optimizer's fp32 masters (those stay in the checkpoint).
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from megatron_snow.checkpoint import Checkpoint, CheckpointStore, read_checkpoint
from megatron_snow.common.checksums import file_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.explain import before_running
from megatron_snow.common.files import atomic_folder
from megatron_snow.common.records import MANIFEST, read_json, write_json
from megatron_snow.config import Recipe, load_recipe
from megatron_snow.conversion.check import LogitCheck, check_logits
from megatron_snow.conversion.mapping import to_huggingface_weights
from megatron_snow.tokenizers import load_tokenizer, write_huggingface_tokenizer

RECORD = "conversion.json"


def to_huggingface(checkpoint: Path, output: Path) -> LogitCheck:
    """Convert `checkpoint`, a step's folder or a run's (its newest whole checkpoint), to the folder `output`.

    The folder appears only when transformers' logits agree with ours to 1e-5 of the largest (fp32). UserError
    otherwise, and where the checkpoint is missing, damaged or of another vocabulary than its tokenizer. What
    `output` already holds of this very checkpoint stays.
    """
    from megatron_snow.engine import read_model

    _refuse_foreign(output)
    source = find_checkpoint(checkpoint)
    if earlier := _earlier_check(source, output):
        return earlier
    before_running("conversion", output, f"it was not made from {source.path.name} as it is now")
    recipe = load_recipe(source.recipe)
    tokenizer = load_tokenizer(source.tokenizer, recipe.tokenizer.vocab_size)
    tensors = read_model(source.model)
    weights = to_huggingface_weights(tensors, recipe.model, recipe.tokenizer.vocab_size)
    dtype = str(next(iter(weights.values())).dtype).removeprefix("torch.")
    with atomic_folder(output) as folder:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        write_json(folder / "config.json", llama_config(recipe, tokenizer.eod, dtype))
        shutil.copymode(folder / "config.json", folder / "model.safetensors")  # safetensors writes for the owner alone
        write_json(folder / "generation_config.json", {"do_sample": False, "eos_token_id": tokenizer.eod, "pad_token_id": tokenizer.eod})
        write_huggingface_tokenizer(source.tokenizer, folder)
        if source.tokenizer.name == "tokenizer.model":  # for those who read it with SentencePiece, and for the way back
            shutil.copyfile(source.tokenizer, folder / "tokenizer.model")
        check = check_logits(folder, tensors, recipe, source.tokenizer)
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        write_json(folder / RECORD, _record(source, dtype, check) | {"files": sizes})
    return check


def find_checkpoint(path: Path) -> Checkpoint:
    """The verified checkpoint of a step's folder, or the newest whole one of a run's folder or its checkpoints/."""
    if (path / "state.yaml").exists():
        return read_checkpoint(path)
    for root in (path, path / "checkpoints"):
        if checkpoint := CheckpointStore(root, keep=1).latest():
            return checkpoint
    raise UserError(f"{path}: no checkpoint there; give a run's folder or a step's (checkpoints/step-00000128)")


def llama_config(recipe: Recipe, eod: int, dtype: str) -> dict[str, Any]:
    """config.json of transformers' LlamaConfig; both places of rope_theta, for readers before and after version 5."""
    model = recipe.model
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": recipe.tokenizer.vocab_size,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.ffn_hidden_size,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_attention_heads,
        "num_key_value_heads": model.num_query_groups,
        "head_dim": model.hidden_size // model.num_attention_heads,
        "hidden_act": "silu",
        "max_position_embeddings": model.seq_length,
        "rms_norm_eps": model.norm_eps,
        "rope_theta": model.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rope_theta},
        "tie_word_embeddings": model.tie_embeddings,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": model.init_std,
        "bos_token_id": None,
        "eos_token_id": eod,
        "pad_token_id": eod,
        "use_cache": True,
        "dtype": dtype,
        "torch_dtype": dtype,
    }


def _earlier_check(source: Checkpoint, output: Path) -> LogitCheck | None:
    """The check of a conversion of the same checkpoint, None where there is none."""
    if not (output / RECORD).is_file():
        return None
    record = read_json(output / RECORD)
    files = record.get("files", {})
    whole = all((output / name).is_file() and (output / name).stat().st_size == size for name, size in files.items())
    if not whole or record["checkpoint"].get("digest") != file_digest(source.path / MANIFEST):
        return None
    return LogitCheck(**{field.name: record["logit_check"][field.name] for field in dataclasses.fields(LogitCheck)})


def _record(source: Checkpoint, dtype: str, check: LogitCheck) -> dict[str, Any]:
    state: dict[str, Any] = {key: source.state[key] for key in ("step", "samples", "tokens", "phase") if key in source.state}
    state["digest"] = file_digest(source.path / MANIFEST)  # of the manifest, which holds the digest of every file
    figures = {**dataclasses.asdict(check), "relative_difference": check.relative_difference}
    return {"checkpoint": state, "dtype": dtype, "logit_check": figures, "torch": torch.__version__}


def _refuse_foreign(output: Path) -> None:
    """A folder is replaced as a whole: only one that holds an earlier conversion, or nothing, may be."""
    if output.is_file():
        raise UserError(f"{output}: is a file; --output names a folder")
    if output.is_dir() and any(output.iterdir()) and not (output / RECORD).exists():
        raise UserError(f"{output}: holds files that no conversion wrote ({RECORD} is missing); choose another --output or empty it")
