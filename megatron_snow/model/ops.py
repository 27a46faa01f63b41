"""The ops between matrix products, as the recipe has them run."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from megatron_snow import kernels
from megatron_snow.kernels import compiled


class Elementwise(NamedTuple):
    """See `kernels/reference.py` for what each takes."""

    rms_norm: Callable[..., Tensor]
    swiglu: Callable[..., Tensor]
    rope: Callable[..., Tensor]


def elementwise(compile: bool) -> Elementwise:
    """The registry's choices, or for training.compile compiled ones; an implementation that MSNOW_KERNELS names comes before both."""
    if compile and not os.environ.get(kernels.KERNELS_VARIABLE):
        return Elementwise(compiled.rms_norm, compiled.swiglu, compiled.rope)
    return Elementwise(kernels.rms_norm, kernels.swiglu, kernels.rope)
