"""The learning rate: a pure function of the tokens consumed in the phase (paper 2.2, 2.3 and Table 5).

The step that consumes tokens [c, c + B) uses the curve at c, so the first step of a warmup has rate 0
and a curve that falls to its final value would reach it with the token after the phase's last.
"""

from __future__ import annotations

import math

from megatron_snow.config import Curve


def learning_rate(curve: Curve, consumed_tokens: int, horizon_tokens: int) -> float:
    """Linear warmup from 0 to the peak, then the shape from the peak to `final` at the horizon.

    The paper's rows: phase 1 is cosine, phase 2's re-warmup is linear with a warmup and final 0, "linear
    MIN -> 0" and "constant MIN" of Table 5 have no warmup.
    """
    if consumed_tokens < curve.warmup_tokens:
        return curve.peak * consumed_tokens / curve.warmup_tokens
    if curve.shape == "constant":
        return curve.peak
    share = min(1.0, (consumed_tokens - curve.warmup_tokens) / (horizon_tokens - curve.warmup_tokens))
    remaining = 1.0 - share if curve.shape == "linear" else 0.5 * (1.0 + math.cos(math.pi * share))
    return remaining * curve.peak + (1.0 - remaining) * curve.final  # exact at both ends
