"""What the Triton ops accept, and how they look at it."""

from __future__ import annotations

import torch
from torch import Tensor

from megatron_snow.kernels.triton_ops import INTERPRETED

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
INTEGERS = (torch.int64,)


def check(name: str, x: Tensor, dtypes: tuple[torch.dtype, ...] = DTYPES, shape: tuple[int, ...] | None = None) -> None:
    """ValueError that names the argument and what is accepted."""
    if x.dtype not in dtypes:
        raise ValueError(f"{name}: dtype {x.dtype}; accepted: {', '.join(map(str, dtypes))}")
    if not (x.is_cuda or INTERPRETED):
        raise ValueError(f"{name}: device {x.device}; accepted: cuda, or the CPU with TRITON_INTERPRET=1")
    if shape is not None and tuple(x.shape) != shape:
        raise ValueError(f"{name}: shape {tuple(x.shape)}; accepted: {shape}")


def check_size(name: str, size: int, most: int) -> None:
    """ValueError unless 1 <= size <= most."""
    if not 1 <= size <= most:
        raise ValueError(f"{name}: size {size}; accepted: 1 to {most}")


def side_by_side(x: Tensor) -> Tensor:
    """x, copied only where the elements of its last dimension do not lie side by side."""
    return x if x.stride(-1) == 1 or x.size(-1) == 1 else x.contiguous()


def as_rows(x: Tensor) -> Tensor:
    """x as [rows, last dimension] with side by side elements; a view wherever the strides allow one."""
    return side_by_side(x).reshape(-1, x.size(-1))
