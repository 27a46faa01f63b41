"""Rules of a learning-rate curve: each shape uses some keys, and the others must be left out, for they would do nothing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from itertools import pairwise

from megatron_snow.config.schema import Curve

Problem = tuple[str, str]

_RISE = ("peak", "start", "warmup_tokens")
_FALL = (*_RISE, "final", "horizon_tokens")
USED = {
    "constant": _RISE,
    "inverse_sqrt": _RISE,
    "cosine": _FALL,
    "linear": _FALL,
    "wsd": (*_FALL, "decay_tokens", "decay"),
    "piecewise": ("points",),
}


def check_curve(key: str, curve: Curve, horizon: int) -> Iterator[Problem]:
    """Every rule that the curve `key` of a phase of `horizon` tokens breaks."""
    for field in dataclasses.fields(curve)[1:]:
        value = getattr(curve, field.name)
        if field.name not in USED[curve.shape] and value != field.default:
            shapes = " or ".join(shape for shape, used in USED.items() if field.name in used)
            given = "given" if field.name == "points" else value
            yield f"{key}.{field.name}", f"{given}, which a {curve.shape} curve does not use; leave it out, or take shape {shapes}"
    if curve.shape == "piecewise":
        yield from _check_points(key, curve, horizon)
        return
    yield from _check_rates(key, curve)
    yield from _check_tokens(key, curve, horizon)


def _check_rates(key: str, curve: Curve) -> Iterator[Problem]:
    if not 0 < curve.peak < math.inf or not 0 <= curve.final <= curve.peak:
        yield key, f"peak {curve.peak} and final {curve.final}: peak must be above 0 and final between 0 and peak"
    if not 0 <= curve.start <= max(0.0, curve.peak):
        yield f"{key}.start", f"{curve.start} is not between 0 and peak {curve.peak}"
    elif curve.start and not curve.warmup_tokens:
        yield f"{key}.start", f"{curve.start}, but without warmup_tokens the curve begins at its peak; give them, or set peak to it"


def _check_tokens(key: str, curve: Curve, horizon: int) -> Iterator[Problem]:
    warmup, decay, end = curve.warmup_tokens, curve.decay_tokens, curve.horizon_tokens or horizon
    if curve.horizon_tokens < 0:
        yield f"{key}.horizon_tokens", f"{curve.horizon_tokens} is below 0; leave it out for the horizon of the phase"
    elif end > 0 and not 0 <= warmup < end:
        yield f"{key}.warmup_tokens", f"{warmup} is not below the horizon of {end} tokens; shorten it, or raise the horizon"
    if curve.shape == "inverse_sqrt" and warmup == 0:
        yield f"{key}.warmup_tokens", "0: an inverse_sqrt curve falls from its peak at the end of the warmup; give its tokens"
    if curve.shape == "wsd" and decay < 1:
        yield f"{key}.decay_tokens", f"{decay}: a wsd curve ends in a decay; give its tokens, or take shape constant"
    elif 0 <= warmup < end < warmup + decay:
        yield (
            f"{key}.decay_tokens",
            f"{decay} and warmup_tokens {warmup} are more than the horizon of {end} tokens; {end - warmup} are left",
        )


def _check_points(key: str, curve: Curve, horizon: int) -> Iterator[Problem]:
    tokens = [point.tokens for point in curve.points]
    if not tokens:
        yield f"{key}.points", "none given; a piecewise curve is a list of {tokens, rate}"
        return
    if tokens[0] != 0:
        yield f"{key}.points[0].tokens", f"{tokens[0]}: the first point is the phase's first step; set it to 0"
    for number, (one, two) in enumerate(pairwise(tokens), 1):
        if two <= one:
            yield f"{key}.points[{number}].tokens", f"{two} is not above {one} of the point before; put the points in ascending order"
    if 0 < horizon < tokens[-1]:
        yield f"{key}.points[{len(tokens) - 1}].tokens", f"{tokens[-1]} is beyond the horizon of {horizon} tokens and would not be reached"
    for number, point in enumerate(curve.points):
        if not 0 <= point.rate < math.inf:
            yield f"{key}.points[{number}].rate", f"{point.rate} is not a rate of 0 or more"
    if not any(point.rate for point in curve.points):
        yield f"{key}.points", "every rate is 0; a phase that learns nothing can be left out"
