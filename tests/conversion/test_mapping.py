"""The table of weights: exact both ways, the grouping of queries, keys and values as megatron-core has it, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from megatron_snow.common.errors import UserError
from megatron_snow.config import Model
from megatron_snow.conversion.mapping import huggingface_shapes, table, to_huggingface_weights, to_megatron_weights

VOCAB = 100


def model_of(groups: int = 2, tied: bool = True) -> Model:
    return Model(2, 32, 48, 4, groups, 16, tie_embeddings=tied)


def random_huggingface(model: Model, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in huggingface_shapes(model, VOCAB).items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_round_trip_is_bit_identical(groups: int, tied: bool, dtype: torch.dtype) -> None:
    model = model_of(groups, tied)
    start = random_huggingface(model, dtype)
    back = to_huggingface_weights(to_megatron_weights(start, model, VOCAB), model, VOCAB)
    assert back.keys() == start.keys()
    assert all(torch.equal(back[name], start[name]) and back[name].dtype == dtype and back[name].is_contiguous() for name in start)


def test_names_and_shapes_are_those_of_transformers() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    for tied in (True, False):
        model = model_of(tied=tied)
        config = LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=tied,
        )
        expected = {name: tuple(tensor.shape) for name, tensor in LlamaForCausalLM(config).state_dict().items()}
        if tied:
            del expected["lm_head.weight"]
        assert huggingface_shapes(model, VOCAB) == expected


def test_queries_keys_and_values_interleave_by_group() -> None:
    model = model_of(groups=2)  # 4 heads of size 8: a group is 2 queries, a key, a value = 32 rows
    qkv = torch.arange(64.0)[:, None].expand(64, 32).contiguous()
    tensors = to_megatron_weights(random_huggingface(model), model, VOCAB)
    tensors["decoder.layers.0.self_attention.linear_qkv.weight"] = qkv
    result = to_huggingface_weights(tensors, model, VOCAB)
    rows = {part: result[f"model.layers.0.self_attn.{part}_proj.weight"][:, 0].tolist() for part in "qkv"}
    assert rows["q"] == [*range(16), *range(32, 48)]
    assert rows["k"] == [*range(16, 24), *range(48, 56)]
    assert rows["v"] == [*range(24, 32), *range(56, 64)]


def test_gate_lies_above_up_and_padding_is_cut() -> None:
    model = model_of(tied=False)
    start = random_huggingface(model)
    tensors = to_megatron_weights(start, model, VOCAB)
    fc1 = tensors["decoder.layers.1.mlp.linear_fc1.weight"]
    assert torch.equal(fc1[:48], start["model.layers.1.mlp.gate_proj.weight"])
    for name in ("embedding.word_embeddings.weight", "output_layer.weight"):
        tensors[name] = torch.nn.functional.pad(tensors[name], (0, 0, 0, 28), value=9.0)
    back = to_huggingface_weights(tensors, model, VOCAB)
    assert torch.equal(back["lm_head.weight"], start["lm_head.weight"])
    assert torch.equal(back["model.embed_tokens.weight"], start["model.embed_tokens.weight"])


def test_what_does_not_fit_is_named() -> None:
    model = model_of()
    start = random_huggingface(model)
    tensors = to_megatron_weights(start, model, VOCAB)
    with pytest.raises(UserError, match=r"model.norm.weight is missing \(1 missing, 0 unknown\)"):
        to_megatron_weights({name: start[name] for name in start if name != "model.norm.weight"}, model, VOCAB)
    with pytest.raises(UserError, match=r"q_proj.bias has no counterpart"):
        to_megatron_weights(start | {"model.layers.0.self_attn.q_proj.bias": torch.zeros(32)}, model, VOCAB)
    with pytest.raises(UserError, match=r"embed_tokens.weight has shape \[100, 32\]; config.json says \[99, 32\]"):
        to_megatron_weights(start, model, VOCAB - 1)
    with pytest.raises(UserError, match=r"word_embeddings.weight has shape \[100, 32\]; the recipe's model needs \[101, 32\]"):
        to_huggingface_weights(tensors, model, VOCAB + 1)
    assert len(dict(table(model))) == len(tensors) == 2 * 6 + 2
