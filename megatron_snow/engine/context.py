"""Context parallelism: which positions of a sequence a rank holds.

A sequence is cut into 2C chunks; rank r of C holds chunks r and 2C - 1 - r (zig-zag). With causal attention the work of
chunk i grows with i, and the two chunks of each rank add up to the same work.
"""

from __future__ import annotations

import torch
from torch import Tensor


def zigzag_positions(seq_length: int, rank: int, size: int) -> Tensor:
    """int64 [seq_length / size]: the positions that `rank` of `size` holds, in its order. size 1: all."""
    if size == 1:
        return torch.arange(seq_length)
    first, last = rank, 2 * size - 1 - rank
    chunks = torch.arange(seq_length).chunk(2 * size)
    return torch.cat((chunks[first], chunks[last]))
