# mypy: disable-error-code="no-untyped-def"
# Triton reads the annotations of a kernel itself.
"""AdamW over flat buffers, with the gradient's scale and the model's copy in the same pass; the sum of squares that clipping needs.

    g = grad · scale      m += (1 - β₁)(g - m)      v = β₂ v + (1 - β₂) g²
    p = (1 - lr λ) p - lr / (1 - β₁ᵗ) · m / (√(v / (1 - β₂ᵗ)) + ε)

30 bytes a parameter: fp32 p, m, v and gradient, written back but the gradient, and a bf16 copy. `scale` is read from the device: whoever
clips need not wait for the norm. The sum of squares is 4 bytes an element, partial sums in a fixed order, without atomics.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # 8 elements to each thread of 4 warps


@triton.jit
def adamw_kernel(param_ptr, grad_ptr, mean_ptr, square_ptr, copy_ptr, scale_ptr, size, kept, rate, mean_share, square_kept, square_share,
                 square_correction, eps, HAS_COPY: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    grad = tl.load(grad_ptr + at, mask=inside, other=0.0).to(tl.float32) * tl.load(scale_ptr)
    mean = tl.load(mean_ptr + at, mask=inside, other=0.0)
    square = tl.load(square_ptr + at, mask=inside, other=0.0)
    param = tl.load(param_ptr + at, mask=inside, other=0.0)
    mean += mean_share * (grad - mean)
    square = square_kept * square + square_share * grad * grad
    param = kept * param - rate * mean / (tl.sqrt(square * square_correction) + eps)
    tl.store(mean_ptr + at, mean, mask=inside)
    tl.store(square_ptr + at, square, mask=inside)
    tl.store(param_ptr + at, param, mask=inside)
    if HAS_COPY:
        tl.store(copy_ptr + at, param.to(copy_ptr.dtype.element_ty), mask=inside)


@triton.jit
def sum_of_squares_kernel(x_ptr, sums_ptr, size, BLOCK: tl.constexpr):
    program = tl.program_id(0)
    sums = tl.zeros([BLOCK], dtype=tl.float32)
    for block in range(program, tl.cdiv(size, BLOCK), tl.num_programs(0)):
        at = tl.cast(block, tl.int64) * BLOCK + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + at, mask=at < size, other=0.0).to(tl.float32)
        sums += x * x
    tl.store(sums_ptr + program, tl.sum(sums, axis=0))


def adamw(param_P: Tensor, grad_P: Tensor, mean_P: Tensor, square_P: Tensor, copy_P: Tensor | None, scale: Tensor, *, step: int, lr: float,
          beta1: float, beta2: float, eps: float, weight_decay: float) -> None:  # fmt: skip
    """Update param, mean, square (fp32) and copy; all contiguous. The constants are computed here in double precision."""
    adamw_kernel[(triton.cdiv(param_P.numel(), BLOCK),)](
        param_P, grad_P, mean_P, square_P, param_P if copy_P is None else copy_P, scale, param_P.numel(),
        1 - lr * weight_decay, lr / (1 - beta1**step), 1 - beta1, beta2, 1 - beta2, 1 / (1 - beta2**step), eps,
        HAS_COPY=copy_P is not None, BLOCK=BLOCK, num_warps=4,
    )  # fmt: skip


def sum_of_squares(x_P: Tensor, sums: Tensor) -> None:
    """Fill the partial sums, fp32, one a program; x is contiguous."""
    sum_of_squares_kernel[(sums.numel(),)](x_P, sums, x_P.numel(), BLOCK=BLOCK, num_warps=4)
