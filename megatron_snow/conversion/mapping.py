"""Which weight is which: one table between megatron-core's names and Hugging Face Llama's.

| megatron, [rows, columns]                            | Hugging Face (model.layers.L.)       | how                               |
|------------------------------------------------------|--------------------------------------|-----------------------------------|
| embedding.word_embeddings [padded V, H]              | model.embed_tokens [V, H]            | rows of padding cut               |
| decoder.layers.L.input_layernorm [H]                 | input_layernorm                      |                                   |
| .self_attention.linear_qkv [(N + 2G) D, H]           | self_attn.{q,k,v}_proj               | of each query group: its N/G      |
|                                                      |                                      | queries, its key, its value       |
| .self_attention.linear_proj [H, N D]                 | self_attn.o_proj                     |                                   |
| .pre_mlp_layernorm [H]                               | post_attention_layernorm             |                                   |
| .mlp.linear_fc1 [2F, H]                              | mlp.{gate,up}_proj                   | gate above up                     |
| .mlp.linear_fc2 [H, F]                               | mlp.down_proj                        |                                   |
| decoder.final_layernorm [H]                          | model.norm                           |                                   |
| output_layer [padded V, H], untied only              | lm_head [V, H]                       | rows of padding cut               |

N query heads, G query groups (key-value heads), D the head size, H hidden_size, F ffn_hidden_size, V the vocabulary.
Both sides rotate halves in RoPE, so no rows are permuted. Values are copied, never computed: a round trip is bit-identical.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from megatron_snow.common.errors import UserError
from megatron_snow.config import Model

EMBEDDING, OUTPUT = "embedding.word_embeddings.weight", "output_layer.weight"
_LAYER = {
    "input_layernorm.weight": ("input_layernorm.weight",),
    "self_attention.linear_qkv.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "self_attention.linear_proj.weight": ("self_attn.o_proj.weight",),
    "pre_mlp_layernorm.weight": ("post_attention_layernorm.weight",),
    "mlp.linear_fc1.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
    "mlp.linear_fc2.weight": ("mlp.down_proj.weight",),
}


def table(model: Model) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(megatron name, Hugging Face names in the order of its rows) of every weight of a model."""
    yield EMBEDDING, ("model.embed_tokens.weight",)
    for layer in range(model.num_layers):
        for megatron, parts in _LAYER.items():
            yield f"decoder.layers.{layer}.{megatron}", tuple(f"model.layers.{layer}.{part}" for part in parts)
    yield "decoder.final_layernorm.weight", ("model.norm.weight",)
    if not model.tie_embeddings:
        yield OUTPUT, ("lm_head.weight",)


def huggingface_shapes(model: Model, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """The shape of every Hugging Face weight, by name."""
    hidden, ffn, size = model.hidden_size, model.ffn_hidden_size, model.hidden_size // model.num_attention_heads
    keys = (model.num_query_groups * size, hidden)
    by_ending = {
        "embed_tokens.weight": (vocab_size, hidden),
        "lm_head.weight": (vocab_size, hidden),
        "q_proj.weight": (hidden, hidden),
        "k_proj.weight": keys,
        "v_proj.weight": keys,
        "o_proj.weight": (hidden, hidden),
        "gate_proj.weight": (ffn, hidden),
        "up_proj.weight": (ffn, hidden),
        "down_proj.weight": (hidden, ffn),
    }
    names = [name for _, parts in table(model) for name in parts]
    return {name: by_ending.get(".".join(name.split(".")[-2:]), (hidden,)) for name in names}


def to_huggingface_weights(tensors: Mapping[str, Tensor], model: Model, vocab_size: int) -> dict[str, Tensor]:
    """Hugging Face weights, contiguous and of the same dtype, from whole megatron weights (the vocabulary padded or not)."""
    _check_names(tensors, [name for name, _ in table(model)], "checkpoint")
    shapes = huggingface_shapes(model, vocab_size)
    result: dict[str, Tensor] = {}
    for name, parts in table(model):
        whole = tensors[name][:vocab_size] if name in (EMBEDDING, OUTPUT) else tensors[name]
        rows = sum(shapes[part][0] for part in parts)
        if (whole.size(0), *whole.shape[1:]) != (rows, *shapes[parts[0]][1:]):
            raise UserError(f"checkpoint: {name} has shape {list(whole.shape)}; the recipe's model needs {[rows, *shapes[parts[0]][1:]]}")
        result.update(zip(parts, _split(name, whole, model)))
    return {name: tensor.contiguous() for name, tensor in result.items()}


def to_megatron_weights(tensors: Mapping[str, Tensor], model: Model, vocab_size: int) -> dict[str, Tensor]:
    """Whole megatron weights, the vocabulary not padded, from Hugging Face weights: the inverse."""
    shapes = huggingface_shapes(model, vocab_size)
    _check_names(tensors, list(shapes), "safetensors")
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise UserError(f"safetensors: {name} has shape {list(tensors[name].shape)}; config.json says {list(shape)}")
    return {name: _join(name, [tensors[part] for part in parts], model).contiguous() for name, parts in table(model)}


def _check_names(tensors: Mapping[str, Tensor], expected: list[str], where: str) -> None:
    missing, unknown = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or unknown:
        problem = f"{missing[0]} is missing" if missing else f"{unknown[0]} has no counterpart"
        raise UserError(f"{where}: weight {problem} ({len(missing)} missing, {len(unknown)} unknown); it is not a model of this shape")


def _split(name: str, whole: Tensor, model: Model) -> tuple[Tensor, ...]:
    if name.endswith("linear_qkv.weight"):
        groups = whole.view(model.num_query_groups, -1, model.hidden_size // model.num_attention_heads, model.hidden_size)
        return tuple(part.reshape(-1, model.hidden_size) for part in (groups[:, :-2], groups[:, -2], groups[:, -1]))
    if name.endswith("linear_fc1.weight"):
        return whole.chunk(2)
    return (whole,)


def _join(name: str, parts: list[Tensor], model: Model) -> Tensor:
    if name.endswith("linear_qkv.weight"):
        size = model.hidden_size // model.num_attention_heads
        grouped = [part.view(model.num_query_groups, -1, size, model.hidden_size) for part in parts]
        return torch.cat(grouped, dim=1).reshape(-1, model.hidden_size)
    return torch.cat(parts) if len(parts) > 1 else parts[0]
