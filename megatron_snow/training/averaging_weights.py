"""Weights of an average of checkpoints: the last k alike, or the merge that replaces the decay of a learning rate.

A run at a constant rate leaves snapshots t_0, ..., t_k. Their average with weights c_j, of sum 1, is

    c_0 t_0 + ... + c_k t_k  =  t_0 + w_1 (t_1 - t_0) + ... + w_k (t_k - t_(k-1)),    w_i = c_i + ... + c_k:

the updates of the i-th interval, each scaled by the tail sum w_i, as a learning rate that has fallen to w_i of its peak would have
scaled them. So the weights of a wanted decay are its decrements,

    c_i = curve(i) - curve(i + 1),    curve(0) = 1, curve(k + 1) = 0.

It is exact where the updates are proportional to the rate and the gradients are those of the run; the gradients of a run that
really decays move on to other points, which is what makes it an approximation. Linear decay at even intervals gives equal weights.

Source: Tian et al. 2025, "WSM: Decay-Free Learning Rate Schedule via Checkpoint Merging for LLM Pre-training".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from megatron_snow.training.schedule import share_left

WEIGHTS = ("uniform", "linear", "cosine", "1-sqrt")


def merge_weights(kind: str, tokens: Sequence[int]) -> list[float]:
    """A weight for each of the checkpoints, which had seen so many tokens, rising; their sum is 1.

    uniform: all alike. linear, cosine, 1-sqrt: the decrements of that decay from the first snapshot on, which ends one mean interval
    after the last one; the i-th interval of updates is scaled by the curve at its end.
    """
    count = len(tokens)
    if kind == "uniform" or count == 1:
        return [1.0 / count] * count
    horizon = (tokens[-1] - tokens[0]) * count / (count - 1)
    curve = [share_left(kind, (each - tokens[0]) / horizon) for each in tokens] + [0.0]
    return [before - after for before, after in pairwise(curve)]
