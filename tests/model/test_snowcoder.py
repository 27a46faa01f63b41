"""The model against transformers' Llama with the same weights, and against itself on more processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from megatron_snow.engine import Engine, read_model
from megatron_snow.model import build_snowcoder

TOKENS = torch.randint(0, 130, (8, 33), generator=torch.Generator().manual_seed(2))


def loss_and_gradient(recipe, folder):
    """Loss and gradient norm of the first step; weights saved as they are afterwards (learning rate 0: unchanged)."""
    engine = Engine(recipe, build_snowcoder(recipe))
    result = engine.train_step(TOKENS, 0.0)
    engine.save(Path(folder))
    engine.close()
    return result.loss, result.grad_norm


def as_llama(tensors, recipe):
    """transformers' model with our weights; the names say which is which."""
    transformers = pytest.importorskip("transformers")
    model = recipe.model
    config = transformers.LlamaConfig(
        vocab_size=130, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        rope_theta=model.rope_theta, rms_norm_eps=model.norm_eps, tie_word_embeddings=model.tie_embeddings, attn_implementation="eager",
    )  # fmt: skip
    llama = transformers.LlamaForCausalLM(config)
    weights = {
        "model.embed_tokens.weight": tensors["embedding.word_embeddings.weight"],
        "model.norm.weight": tensors["decoder.final_layernorm.weight"],
    }
    weights["lm_head.weight"] = tensors.get("output_layer.weight", tensors["embedding.word_embeddings.weight"])
    for layer in range(4):
        ours, theirs = f"decoder.layers.{layer}.", f"model.layers.{layer}."
        grouped = tensors[ours + "self_attention.linear_qkv.weight"].view(
            2, 4, 16, 64
        )  # groups, [2 queries, key, value], head size, hidden
        weights[theirs + "self_attn.q_proj.weight"] = grouped[:, :2].reshape(64, 64)
        weights[theirs + "self_attn.k_proj.weight"] = grouped[:, 2].reshape(32, 64)
        weights[theirs + "self_attn.v_proj.weight"] = grouped[:, 3].reshape(32, 64)
        weights[theirs + "self_attn.o_proj.weight"] = tensors[ours + "self_attention.linear_proj.weight"]
        gate, up = tensors[ours + "mlp.linear_fc1.weight"].chunk(2)
        weights[theirs + "mlp.gate_proj.weight"], weights[theirs + "mlp.up_proj.weight"] = gate, up
        weights[theirs + "mlp.down_proj.weight"] = tensors[ours + "mlp.linear_fc2.weight"]
        weights[theirs + "input_layernorm.weight"] = tensors[ours + "input_layernorm.weight"]
        weights[theirs + "post_attention_layernorm.weight"] = tensors[ours + "pre_mlp_layernorm.weight"]
    llama.load_state_dict(weights)
    return llama


@pytest.mark.parametrize(
    "changes", [{}, {"tie_embeddings": False, "rope_theta": 500.0, "norm_eps": 1e-2}], ids=["tied", "untied-other-constants"]
)
def test_same_loss_and_gradient_as_llama(workers, tiny_recipe, tmp_path, changes):
    recipe = tiny_recipe(**changes)
    loss, norm = workers.run(1, loss_and_gradient, recipe, tmp_path)[0]
    llama = as_llama(read_model(tmp_path), recipe)
    logits = llama(TOKENS[:, :-1]).logits
    theirs = torch.nn.functional.cross_entropy(logits.reshape(-1, 130), TOKENS[:, 1:].reshape(-1))
    theirs.backward()
    their_norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in llama.parameters()])
    assert loss == pytest.approx(float(theirs.detach()), rel=3e-7)
    assert norm == pytest.approx(float(their_norm), rel=2e-6)


def test_padding_alone_on_the_last_rank(workers, tiny_recipe, tmp_path):
    """Vocabulary 130 padded to 256 over 4 ranks: the third holds 2 rows of it, the last none."""
    changes = {"num_query_groups": 4}
    one = workers.run(1, loss_and_gradient, tiny_recipe(**changes), tmp_path / "one")[0]
    four = workers.run(4, loss_and_gradient, tiny_recipe(processes=4, tensor=4, **changes), tmp_path / "four")
    assert all(rank == pytest.approx(one, rel=2e-6) for rank in four)
    ours, theirs = read_model(tmp_path / "one"), read_model(tmp_path / "four")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
