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
from megatron_snow.model.documents import held_positions


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

    `attention_mask` is not a mask but the number of the document at each place of the whole sequence, int [B, T], or None. With
    config.document_attention a query sees keys of its own document alone, with config.reset_positions RoPE counts within documents.

    With context parallelism each rank holds two chunks of the queries (see `zigzag_positions`); keys and values, which
    grouped queries make small, are gathered from all ranks.
    """

    def __init__(self, config: TransformerConfig, pg_collection: ProcessGroupCollection, **_: Any) -> None:
        super().__init__()
        self.config, self.context = config, pg_collection.cp

    def forward(self, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **_: Any) -> Tensor:
        """query [S, B, N, D], key and value [S, B, G, D] of this rank's positions -> [S, B, N D]."""
        size, rank, documents = self.context.size(), self.context.rank(), attention_mask
        query, key = self._rotate(query, key, documents)
        if not self.config.document_attention:
            documents = None
        if size == 1:
            return _attend(query, key, value, documents).flatten(2)
        key, value = (self._gather(x) for x in (key, value))
        outputs = []
        for chunk, positions in zip(query.chunk(2), zigzag_positions(key.size(0), rank, size).chunk(2)):
            seen = int(positions[-1]) + 1  # later keys are hidden from the whole chunk
            outputs.append(_attend(chunk, key[:seen], value[:seen], documents, offset=int(positions[0])))
        return torch.cat(outputs).flatten(2)

    def _rotate(self, query: Tensor, key: Tensor, documents: Tensor | None) -> tuple[Tensor, Tensor]:
        size, rank, length = self.context.size(), self.context.rank(), query.size(0) * self.context.size()
        constants = query.size(-1), self.config.rope_theta, query.device
        if documents is None or not self.config.reset_positions:
            table = rotary_table(length, rank, size, *constants)
            return self.config.ops.rope(query, *table), self.config.ops.rope(key, *table)
        positions = held_positions(documents, rank, size).flatten()  # each sequence of the batch has its own
        cos, sin = (part[positions] for part in rotary_table(length, 0, 1, *constants))
        query, key = (self.config.ops.rope(x.flatten(0, 1).unsqueeze(1), cos, sin).view_as(x) for x in (query, key))
        return query, key

    def _gather(self, x: Tensor) -> Tensor:
        """[T / size, ...] of each rank -> [T, ...] in the order of the sequence; the backward pass sums and scatters."""
        size = self.context.size()
        gathered = gather_from_sequence_parallel_region(x.contiguous(), group=self.context)
        held = torch.cat([zigzag_positions(gathered.size(0), rank, size) for rank in range(size)])
        return gathered[held.argsort().to(x.device)]


def _attend(query: Tensor, key: Tensor, value: Tensor, documents: Tensor | None, offset: int = 0) -> Tensor:
    if documents is None:
        return kernels.attention(query, key, value, offset=offset)
    if documents.size(1) != key.size(0):  # the same object where it is whole: masks are kept by it
        documents = documents[:, : key.size(0)]
    return kernels.document_attention(query, key, value, documents, offset=offset)
