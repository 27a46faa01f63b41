"""The ops in Triton. This file imports no Triton, so that any machine can ask `missing()`.

A kernel file (rms_norm, swiglu, rope, cross_entropy) has kernels and what launches them into outputs that are given;
`ops.py` allocates the outputs, checks the inputs and makes torch.library ops of them with their gradients.
docs/kernels.md says how they are proven; none has run on a GPU yet.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton too reads it once, where a kernel is declared
PROVEN = "proven in Triton's interpreter and compiled for sm_90a; not run on a GPU"


def missing() -> str:
    """Why the Triton ops cannot run here, or ""."""
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if INTERPRETED and os.environ.get("MSNOW_KERNELS") == "triton":
        return ""
    if not torch.cuda.is_available():
        return "no GPU"
    major, minor = torch.cuda.get_device_capability()
    return "" if major >= 8 else f"a GPU of compute capability {major}.{minor}, and bf16 needs 8.0"


def on_gpu(op: str, otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """The op in Triton for tensors on a GPU (or anywhere, if interpreted); `otherwise` for those on the CPU."""

    def call(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not (x.is_cuda or INTERPRETED):
            return otherwise(x, *args, **kwargs)
        return getattr(importlib.import_module("megatron_snow.kernels.triton_ops.ops"), op)(x, *args, **kwargs)

    return call
