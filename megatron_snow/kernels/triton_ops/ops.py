"""The Triton ops as torch.library ops megatron_snow::*, each with a fake implementation and a gradient.

What `reference.py` says of shapes and results holds here; another dtype, device, shape or stride than a kernel takes is a ValueError.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from megatron_snow.kernels.triton_ops import rms_norm as norm
from megatron_snow.kernels.triton_ops import rope as rotary
from megatron_snow.kernels.triton_ops import swiglu as gated
from megatron_snow.kernels.triton_ops.inputs import as_rows, check, check_size, side_by_side
from megatron_snow.kernels.triton_ops.loss import vocab_parallel_cross_entropy
from megatron_snow.kernels.triton_ops.update import adamw_flat_, sum_of_squares

__all__ = [
    "adamw_flat_", "add_rms_norm", "rms_norm", "rope", "rope_", "sum_of_squares", "swiglu", "vocab_parallel_cross_entropy",
]  # fmt: skip


def _norm_forward(x: Tensor, residual: Tensor | None, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    check("x", x)
    check_size("x's last dimension", x.size(-1), norm.MOST_COLUMNS)
    check("weight", weight, shape=(x.size(-1),))
    if residual is not None:
        check("residual", residual, (x.dtype,), tuple(x.shape))
    y, h, rstd = _norm_outputs(x, residual)
    h_RH = None if residual is None else h.view(-1, x.size(-1))
    norm.forward(
        as_rows(x), None if residual is None else as_rows(residual), weight.contiguous(), eps, y.view(-1, x.size(-1)), h_RH, rstd
    )  # fmt: skip
    return y, h, rstd


def _norm_outputs(x: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """(y, h: empty without a residual, 1 / rms of each row)."""
    rows = x.numel() // x.size(-1)
    return x.new_empty(x.shape), x.new_empty(0 if residual is None else x.shape), x.new_empty(rows, dtype=torch.float32)


def _programs(h: Tensor) -> int:
    """How many programs share the rows of a backward pass: four a multiprocessor, each with its own sum for dw."""
    processors = torch.cuda.get_device_properties(h.device).multi_processor_count if h.is_cuda else 1
    return max(1, min(h.numel() // h.size(-1), 4 * processors))


@torch.library.custom_op("megatron_snow::rms_norm", mutates_args=())
def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    y, _h, rstd = _norm_forward(x, None, weight, eps)
    return y, rstd


@_rms_norm.register_fake
def _(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    y, _h, rstd = _norm_outputs(x, None)
    return y, rstd


@torch.library.custom_op("megatron_snow::add_rms_norm", mutates_args=())
def _add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    return _norm_forward(x, residual, weight, eps)


@_add_rms_norm.register_fake
def _(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    return _norm_outputs(x, residual)


@torch.library.custom_op("megatron_snow::rms_norm_backward", mutates_args=())
def _rms_norm_backward(dy: Tensor, dh: Tensor | None, h: Tensor, weight: Tensor, rstd: Tensor) -> tuple[Tensor, Tensor]:
    check("dy", dy, shape=tuple(h.shape))
    dx, sums_PH = h.new_empty(h.shape), h.new_empty((_programs(h), h.size(-1)), dtype=torch.float32)
    norm.backward(as_rows(dy), None if dh is None else as_rows(dh), as_rows(h), weight.contiguous(), rstd, dx.view(-1, h.size(-1)), sums_PH)
    return dx, sums_PH.sum(0).to(weight.dtype)


@_rms_norm_backward.register_fake
def _(dy: Tensor, dh: Tensor | None, h: Tensor, weight: Tensor, rstd: Tensor) -> tuple[Tensor, Tensor]:
    return h.new_empty(h.shape), weight.new_empty(weight.shape)


def _keep_norm(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(inputs[0] if len(output) == 2 else output[1], inputs[-2], output[-1])


def _norm_gradient(ctx: Any, dy: Tensor, _drstd: Tensor) -> tuple[Tensor, Tensor, None]:
    dx, dw = _rms_norm_backward(dy, None, *ctx.saved_tensors)
    return dx, dw, None


def _add_norm_gradient(ctx: Any, dy: Tensor, dh: Tensor, _drstd: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    dx, dw = _rms_norm_backward(dy, dh, *ctx.saved_tensors)
    return dx, dx, dw, None


_rms_norm.register_autograd(_norm_gradient, setup_context=_keep_norm)
_add_rms_norm.register_autograd(_add_norm_gradient, setup_context=_keep_norm)


@torch.library.custom_op("megatron_snow::swiglu", mutates_args=())
def _swiglu(gate_up: Tensor) -> Tensor:
    check("gate_up", gate_up)
    if gate_up.size(-1) % 2:
        raise ValueError(f"gate_up: last dimension {gate_up.size(-1)}; accepted: an even one, gate and up side by side")
    y = gate_up.new_empty((*gate_up.shape[:-1], gate_up.size(-1) // 2))
    gated.forward(as_rows(gate_up), y.view(-1, y.size(-1)))
    return y


@_swiglu.register_fake
def _(gate_up: Tensor) -> Tensor:
    return gate_up.new_empty((*gate_up.shape[:-1], gate_up.size(-1) // 2))


@torch.library.custom_op("megatron_snow::swiglu_backward", mutates_args=())
def _swiglu_backward(dy: Tensor, gate_up: Tensor) -> Tensor:
    check("dy", dy, shape=(*gate_up.shape[:-1], gate_up.size(-1) // 2))
    grad = gate_up.new_empty(gate_up.shape)
    gated.backward(as_rows(dy), as_rows(gate_up), grad.view(-1, grad.size(-1)))
    return grad


@_swiglu_backward.register_fake
def _(dy: Tensor, gate_up: Tensor) -> Tensor:
    return gate_up.new_empty(gate_up.shape)


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


_swiglu.register_autograd(lambda ctx, dy: _swiglu_backward(dy, *ctx.saved_tensors), setup_context=_keep_inputs)


def _check_heads(name: str, x: Tensor, cos: Tensor, sin: Tensor) -> None:
    check(name, x)
    if x.dim() != 4 or x.size(-1) % 2:
        raise ValueError(f"{name}: shape {tuple(x.shape)}; accepted: [S, B, heads, an even head size]")
    for table_name, table in (("cos", cos), ("sin", sin)):
        check(table_name, table, shape=(x.size(0), x.size(3)))
        if table.requires_grad:
            raise ValueError(f"{table_name}: requires_grad; accepted: a table without a gradient")


@torch.library.custom_op("megatron_snow::rope", mutates_args=())
def _rope(x: Tensor, cos: Tensor, sin: Tensor, inverse: bool) -> Tensor:
    _check_heads("x", x, cos, sin)
    out = x.new_empty(x.shape)
    rotary.rotate(side_by_side(x), None, out, None, cos.contiguous(), sin.contiguous(), inverse)
    return out


@_rope.register_fake
def _(x: Tensor, cos: Tensor, sin: Tensor, inverse: bool) -> Tensor:
    return x.new_empty(x.shape)


def _keep_rope(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:3])
    ctx.inverse = inputs[3]


def _rope_gradient(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None]:
    return _rope(dy, *ctx.saved_tensors, not ctx.inverse), None, None, None


_rope.register_autograd(_rope_gradient, setup_context=_keep_rope)


@torch.library.custom_op("megatron_snow::rope_", mutates_args=("q", "k"))
def _rope_(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> None:
    for name, x in (("q", q), ("k", k)):
        _check_heads(name, x, cos, sin)
        if x.stride(-1) != 1:
            raise ValueError(f"{name}: strides {x.stride()}; accepted: 1 for the last dimension, as it is rotated in place")
    rotary.rotate(q, k, q, k, cos.contiguous(), sin.contiguous(), False)


class _RopeInPlace(torch.autograd.Function):
    """torch.library takes no gradient for an op that changes its input."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        _rope_(q, k, cos, sin)
        ctx.mark_dirty(q, k)
        ctx.save_for_backward(cos, sin)
        return q, k

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        dq, dk = (_rope(grad, *ctx.saved_tensors, True) for grad in grads)
        return dq, dk, None, None


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`reference.rms_norm`."""
    return _rms_norm(x, weight, eps)[0]


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """`reference.add_rms_norm`."""
    return _add_rms_norm(x, residual, weight, eps)[:2]


def swiglu(gate_up: Tensor) -> Tensor:
    """`reference.swiglu`."""
    return _swiglu(gate_up)


def rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`reference.rope`."""
    return _rope(x, cos, sin, False)


def rope_(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """`reference.rope_`: q and k themselves, rotated."""
    rotated: tuple[Tensor, Tensor] = _RopeInPlace.apply(q, k, cos, sin)
    return rotated
