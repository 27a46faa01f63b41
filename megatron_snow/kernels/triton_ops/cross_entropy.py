"""Cross entropy over this rank's columns of the vocabulary: three numbers a row, then the gradient over the logits.

    top = max x     total = Σ exp(x - top)     target = x[target], 0 if another rank has it
    gradient = g (exp(x - top) / total - onehot)           with the top and total of all ranks

2 V bytes a row forward in bf16, 4 V backward. A row of 65,536 columns fits no registers, so it is read block by block with a running
maximum: one exp an element. (A running maximum a lane would save the reductions and cost two, and at two the exponential units,
not memory, would be the limit of an H200.)
"""

# mypy: disable-error-code="no-untyped-def"
# Triton reads the annotations of a kernel itself.
from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096


def config(n_cols: int) -> dict[str, int]:
    """At most 4,096 columns at once, 16 elements to a thread."""
    block = min(BLOCK, triton.next_power_of_2(n_cols))
    return {"BLOCK": block, "num_warps": min(8, max(1, block // 512))}


@triton.jit
def cross_entropy_kernel(logits_ptr, targets_ptr, top_ptr, total_ptr, target_ptr, stride, first, n_valid, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    row_ptr = logits_ptr + row * stride
    top = tl.full([], float("-inf"), tl.float32)
    total = tl.zeros([], tl.float32)
    for start in range(0, n_valid, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        x = tl.load(row_ptr + cols, mask=cols < n_valid, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(top, tl.max(x, axis=0))
        base = tl.where(higher == float("-inf"), 0.0, higher)  # -inf - -inf would be NaN
        total = total * tl.exp(top - base) + tl.sum(tl.exp(x - base), axis=0)
        top = higher
    column = tl.load(targets_ptr + row) - first
    mine = (column >= 0) & (column < n_valid)
    tl.store(top_ptr + row, top)
    tl.store(total_ptr + row, total)
    tl.store(target_ptr + row, tl.load(row_ptr + column, mask=mine, other=0.0).to(tl.float32))


@triton.jit
def cross_entropy_backward_kernel(logits_ptr, targets_ptr, top_ptr, total_ptr, grad_ptr, stride, first, n_valid, n_cols,
                                  BLOCK: tl.constexpr):  # fmt: skip
    blocks = tl.cdiv(n_cols, BLOCK)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    cols = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    grad = tl.load(grad_ptr + row)
    scale = grad / tl.load(total_ptr + row)
    column = tl.load(targets_ptr + row) - first
    at = logits_ptr + row * stride + cols
    x = tl.load(at, mask=cols < n_valid, other=float("-inf")).to(tl.float32)
    result = tl.exp(x - tl.load(top_ptr + row)) * scale - tl.where(cols == column, grad, 0.0)
    result = tl.where(cols < n_valid, result, 0.0)
    tl.store(at, result.to(logits_ptr.dtype.element_ty), mask=cols < n_cols)


def forward(logits_RV: Tensor, targets_R: Tensor, first: int, valid: int, top_R: Tensor, total_R: Tensor, target_R: Tensor) -> None:
    """Fill the three numbers of each row, fp32, over the first `valid` columns; column 0 is number `first` of the vocabulary."""
    cross_entropy_kernel[(logits_RV.size(0),)](
        logits_RV, targets_R, top_R, total_R, target_R, logits_RV.stride(0), first, valid, **config(logits_RV.size(1))
    )  # fmt: skip


def backward(logits_RV: Tensor, targets_R: Tensor, first: int, valid: int, top_R: Tensor, total_R: Tensor, grad_R: Tensor) -> None:
    """Write the gradient over the logits, 0 from column `valid` on."""
    n_rows, n_cols = logits_RV.shape
    settings = config(n_cols)
    cross_entropy_backward_kernel[(n_rows * triton.cdiv(n_cols, settings["BLOCK"]),)](
        logits_RV, targets_R, top_R, total_R, grad_R, logits_RV.stride(0), first, valid, n_cols, **settings
    )  # fmt: skip
