"""Core attention: RoPE, then causal grouped-query attention, over a context that may be split among ranks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel import gather_from_sequence_parallel_region
from megatron.core.transformer import TransformerConfig
from torch import Tensor

from megatron_snow import kernels
from megatron_snow.engine.context import zigzag_positions


@lru_cache(maxsize=8)
def rotary_table(length: int, rank: int, size: int, head_size: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin, fp32 [length / size, head_size], of the positions that `rank` of `size` holds.

    The angle of pair i at position p is p · theta^(-2i / head_size), in fp64: at p = 8,191 fp32 would be off by 5e-4.
    """
    frequencies = theta ** (-torch.arange(0, head_size, 2, dtype=torch.float64) / head_size)
    angles = torch.outer(zigzag_positions(length, rank, size).double(), frequencies).repeat(1, 2)
    return angles.cos().float().to(device), angles.sin().float().to(device)


class RotaryAttention(torch.nn.Module):
    """softmax(rope(q) rope(k)ᵀ / √D) v, causal.

    With context parallelism each rank holds two chunks of the queries (see `zigzag_positions`); keys and values, which
    grouped queries make small, are gathered from all ranks.
    """

    def __init__(self, config: TransformerConfig, pg_collection: ProcessGroupCollection, **_: Any) -> None:
        super().__init__()
        self.theta, self.context = config.rope_theta, pg_collection.cp

    def forward(self, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **_: Any) -> Tensor:
        """query [S, B, N, D], key and value [S, B, G, D] of this rank's positions -> [S, B, N D]."""
        size, rank = self.context.size(), self.context.rank()
        cos, sin = rotary_table(query.size(0) * size, rank, size, query.size(-1), self.theta, query.device)
        query, key = kernels.rope(query, cos, sin), kernels.rope(key, cos, sin)
        if size == 1:
            return kernels.attention(query, key, value).flatten(2)
        key, value = (self._gather(x) for x in (key, value))
        outputs = []
        for chunk, positions in zip(query.chunk(2), zigzag_positions(key.size(0), rank, size).chunk(2)):
            seen = int(positions[-1]) + 1  # later keys are hidden from the whole chunk
            outputs.append(kernels.attention(chunk, key[:seen], value[:seen], offset=int(positions[0])))
        return torch.cat(outputs).flatten(2)

    def _gather(self, x: Tensor) -> Tensor:
        """[T / size, ...] of each rank -> [T, ...] in the order of the sequence; the backward pass sums and scatters."""
        size = self.context.size()
        gathered = gather_from_sequence_parallel_region(x.contiguous(), group=self.context)
        held = torch.cat([zigzag_positions(gathered.size(0), rank, size) for rank in range(size)])
        return gathered[held.argsort().to(x.device)]
