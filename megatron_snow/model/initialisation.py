"""Initial weights that do not depend on the layout: each rank draws the whole of a weight and takes its part.

A weight's random numbers come from a generator seeded by (seed, name), so neither order nor number of processes matters.
Scales are Megatron-LM's: normal(0, init_std), and init_std / sqrt(2 layers) for the two linears that add to the residual.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from megatron_snow.common.checksums import value_digest
from megatron_snow.config import Model
from megatron_snow.config.weights import VOCABULARY_WEIGHTS, split_dimension

_RESIDUAL = ("linear_proj.weight", "linear_fc2.weight")  # these add to the residual


def initial_weight(name: str, shape: tuple[int, ...], seed: int, model: Model) -> Tensor:
    """fp32, whole. Norm weights are ones."""
    if len(shape) == 1:
        return torch.ones(shape)
    generator = torch.Generator().manual_seed(int(value_digest([seed, name])[:15], 16))
    std = model.init_std / (2 * model.num_layers) ** 0.5 if name.endswith(_RESIDUAL) else model.init_std
    return torch.empty(shape).normal_(0.0, std, generator=generator)


def shard_of(name: str, whole: Tensor, rank: int, size: int, padded_vocab_size: int) -> Tensor:
    """The part of a whole weight that tensor-parallel `rank` of `size` holds (table in `spec.py`); rows of padding are zeros."""
    if whole.dim() == 1:
        return whole
    if name in VOCABULARY_WEIGHTS:
        whole = pad(whole, (0, 0, 0, padded_vocab_size - whole.size(0)))
    if name.endswith("linear_fc1.weight"):
        return torch.cat([half.chunk(size)[rank] for half in whole.chunk(2)])
    return whole.chunk(size, dim=split_dimension(name))[rank]
