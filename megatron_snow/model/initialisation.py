"""Initial weights that do not depend on the layout: each rank draws the whole of a weight and takes its part.

A weight's random numbers come from a generator seeded by (seed, name), so neither order nor number of processes matters.
Scales are Megatron-LM's: normal(0, init_std), and init_std / sqrt(2 layers) for the two linears that add to the residual.
"""

from __future__ import annotations

import torch
from torch import Tensor

from megatron_snow.common.checksums import value_digest
from megatron_snow.config import Model

EMBEDDING = "embedding.word_embeddings.weight"


def weight_shape(name: str, model: Model, vocab_size: int) -> tuple[int, ...]:
    """The whole shape of a weight by its name in a checkpoint, the vocabulary not padded."""
    hidden, head_size = model.hidden_size, model.hidden_size // model.num_attention_heads
    shapes = {
        "linear_qkv.weight": ((model.num_attention_heads + 2 * model.num_query_groups) * head_size, hidden),
        "linear_proj.weight": (hidden, hidden),
        "linear_fc1.weight": (2 * model.ffn_hidden_size, hidden),
        "linear_fc2.weight": (hidden, model.ffn_hidden_size),
        "word_embeddings.weight": (vocab_size, hidden),
        "output_layer.weight": (vocab_size, hidden),
    }
    return next((shape for ending, shape in shapes.items() if name.endswith(ending)), (hidden,))


def initial_weight(name: str, seed: int, model: Model, vocab_size: int) -> Tensor:
    """fp32, whole. Norm weights are ones."""
    shape = weight_shape(name, model, vocab_size)
    if len(shape) == 1:
        return torch.ones(shape)
    generator = torch.Generator().manual_seed(int(value_digest([seed, name])[:15], 16))
    std = model.init_std
    if name.endswith(("linear_proj.weight", "linear_fc2.weight")):
        std /= (2 * model.num_layers) ** 0.5
    return torch.empty(shape).normal_(0.0, std, generator=generator)


def shard_of(name: str, whole: Tensor, rank: int, size: int, padded_vocab_size: int) -> Tensor:
    """The part of a whole weight that tensor-parallel `rank` of `size` holds; rows of padding are zeros."""
    if whole.dim() == 1 or size == 1 and not name.endswith(("word_embeddings.weight", "output_layer.weight")):
        return whole
    if name.endswith(("word_embeddings.weight", "output_layer.weight")):
        whole = torch.nn.functional.pad(whole, (0, 0, 0, padded_vocab_size - whole.size(0)))
    if name.endswith("linear_fc1.weight"):
        return torch.cat([half.chunk(size)[rank] for half in whole.chunk(2)])
    return whole.chunk(size, dim=1 if name.endswith(("linear_proj.weight", "linear_fc2.weight")) else 0)[rank]
