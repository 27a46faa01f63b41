"""Samples that hold several documents: positions that restart with each.

`documents` int [B, T] numbers the document at each place of a sample and never falls along a row; padding has a number of its own.
The tables are kept for the micro-batch at hand, as every layer asks for the same ones.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from megatron_snow.engine.context import zigzag_positions


def restarting_positions(documents_BT: Tensor) -> Tensor:
    """int64 [B, T]: places counted from the beginning of each document, as `datasets.segments.positions` does."""
    places = torch.arange(documents_BT.size(1), device=documents_BT.device)
    begins = torch.ones_like(documents_BT, dtype=torch.bool)
    begins[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
    return places - torch.where(begins, places, 0).cummax(1).values


@lru_cache(maxsize=2)
def held_positions(documents_BT: Tensor, rank: int, size: int) -> Tensor:
    """int64 [T / size, B]: `restarting_positions` of the places that context-parallel `rank` of `size` holds."""
    held = zigzag_positions(documents_BT.size(1), rank, size).to(documents_BT.device)
    return restarting_positions(documents_BT)[:, held].t()
