"""The learning rate: a pure function of the tokens consumed in the phase (paper 2.2, 2.3 and Table 5).

The step that consumes tokens [c, c + B) uses the curve at c, so the first step of a warmup has the rate
`start` and a curve that falls to its final value would reach it with the token after the phase's last.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping

from megatron_snow.config import Curve, CurvePoint

# Part of the way from final up to peak that is left after a share of the fall, from 1 to 0.
_LEFT: Mapping[str, Callable[[float], float]] = {
    "linear": lambda share: 1.0 - share,
    "cosine": lambda share: 0.5 * (1.0 + math.cos(math.pi * share)),
    "1-sqrt": lambda share: 1.0 - math.sqrt(share),  # Haegele et al. 2024
}


def learning_rate(curve: Curve, consumed_tokens: int, horizon_tokens: int) -> float:
    """Linear warmup from `start` to the peak, then the shape; `horizon_tokens`: of the phase, the end of a curve that names none.

    cosine and linear fall from the peak to `final` at the horizon; wsd (warmup, stable, decay: Hu et al. 2024) stays at the peak
    and falls over its last `decay_tokens`; inverse_sqrt is peak x sqrt(warmup / tokens) (Vaswani et al. 2017); piecewise is linear
    between its points and stays at the last one's rate.
    """
    if curve.shape == "piecewise":
        return _between(curve.points, consumed_tokens)
    if consumed_tokens < curve.warmup_tokens:
        return curve.start + (curve.peak - curve.start) * consumed_tokens / curve.warmup_tokens
    if curve.shape == "constant":
        return curve.peak
    if curve.shape == "inverse_sqrt":
        return curve.peak * math.sqrt(curve.warmup_tokens / consumed_tokens)
    end = curve.horizon_tokens or horizon_tokens
    begin, fall = (end - curve.decay_tokens, curve.decay) if curve.shape == "wsd" else (curve.warmup_tokens, curve.shape)
    left = share_left(fall, (consumed_tokens - begin) / (end - begin))
    return left * curve.peak + (1.0 - left) * curve.final  # exact at both ends


def share_left(fall: str, share: float) -> float:
    """What is left of the way from final up to peak after a share of a fall (linear, cosine, 1-sqrt); shares beyond [0, 1] are its ends."""
    return _LEFT[fall](min(1.0, max(0.0, share)))


def _between(points: tuple[CurvePoint, ...], consumed_tokens: int) -> float:
    after = bisect_right(points, consumed_tokens, key=lambda point: point.tokens)
    first, second = points[after - 1], points[min(after, len(points) - 1)]
    if first is second:
        return first.rate
    return first.rate + (second.rate - first.rate) * (consumed_tokens - first.tokens) / (second.tokens - first.tokens)
