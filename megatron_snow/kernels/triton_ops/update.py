"""The optimizer's ops as torch.library ops; they have no gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from megatron_snow.kernels.triton_ops import optimizer
from megatron_snow.kernels.triton_ops.inputs import DTYPES, check

WIDE = (torch.float32,)


def _check_flat(name: str, x: Tensor, dtypes: tuple[torch.dtype, ...], size: int) -> None:
    check(name, x, dtypes, (size,))
    if not x.is_contiguous():
        raise ValueError(f"{name}: strides {x.stride()}; accepted: (1,), as it is changed in place")


@torch.library.custom_op("megatron_snow::adamw_flat_", mutates_args=("param", "mean", "square", "copy"))
def _adamw_flat_(param: Tensor, grad: Tensor, mean: Tensor, square: Tensor, copy: Tensor | None, scale: Tensor, step: int, lr: float,
                 beta1: float, beta2: float, eps: float, weight_decay: float) -> None:  # fmt: skip
    for name, x in (("param", param), ("mean", mean), ("square", square)):
        _check_flat(name, x, WIDE, param.numel())
    _check_flat("grad", grad, DTYPES, param.numel())
    check("scale", scale, WIDE, ())
    if copy is not None:
        _check_flat("copy", copy, DTYPES, param.numel())
    optimizer.adamw(
        param, grad, mean, square, copy, scale, step=step, lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay
    )  # fmt: skip


@torch.library.custom_op("megatron_snow::sum_of_squares", mutates_args=())
def _sum_of_squares(x: Tensor) -> Tensor:
    check("x", x)
    processors = torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 1
    sums = x.new_empty(4 * processors, dtype=torch.float32)
    optimizer.sum_of_squares(x.contiguous(), sums)
    return sums.sum()


@_sum_of_squares.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty((), dtype=torch.float32)


def adamw_flat_(param: Tensor, grad: Tensor, mean: Tensor, square: Tensor, copy: Tensor | None, scale: Tensor, *, step: int, lr: float,
                betas: tuple[float, float], eps: float, weight_decay: float) -> None:  # fmt: skip
    """`reference.adamw_flat_`."""
    _adamw_flat_(param, grad, mean, square, copy, scale, step, lr, *betas, eps, weight_decay)


def sum_of_squares(x: Tensor) -> Tensor:
    """`reference.sum_of_squares`."""
    return _sum_of_squares(x)
