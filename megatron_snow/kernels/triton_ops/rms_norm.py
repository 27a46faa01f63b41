"""RMSNorm, alone or of x + residual.

    h = x + residual, rounded to x's dtype and kept       r = 1 / sqrt(mean(h²) + eps)       y = h r w
    g = dy w    dh += r (g - h r · mean(g h r))           dw = Σ_rows dy h r

A row is one program's and is read once: 4 H bytes a row forward in bf16 (8 H with the residual), 6 H backward (8 H). The rounded h is
what is normed, so that whoever computes y again from h gets the same bits. dw: each program sums rows it meets in order,
and the sums are added in a fixed order, without atomics.
"""

# mypy: disable-error-code="no-untyped-def"
# Triton reads the annotations of a kernel itself.
from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

MOST_COLUMNS = 16384  # a row of fp32 in the registers of 16 warps: 32 a thread; over 8,192 the backward pass spills some


def config(n_cols: int) -> dict[str, int]:
    """A row to a program, 8 elements to a thread: with bf16 one load of 128 bits (16 warps at H = 2048 would load 64)."""
    block = triton.next_power_of_2(n_cols)
    return {"BLOCK": block, "num_warps": min(16, max(1, block // 256))}


@triton.jit
def rms_norm_kernel(x_ptr, residual_ptr, weight_ptr, y_ptr, h_ptr, rstd_ptr, x_stride, residual_stride, n_cols, eps,
                    HAS_RESIDUAL: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    inside = cols < n_cols
    h = tl.load(x_ptr + row * x_stride + cols, mask=inside, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        h += tl.load(residual_ptr + row * residual_stride + cols, mask=inside, other=0.0).to(tl.float32)
        rounded = h.to(h_ptr.dtype.element_ty)
        tl.store(h_ptr + row * n_cols + cols, rounded, mask=inside)
        h = rounded.to(tl.float32)
    rstd = tl.rsqrt(tl.sum(h * h, axis=0) / n_cols + eps)
    tl.store(rstd_ptr + row, rstd)
    weight = tl.load(weight_ptr + cols, mask=inside, other=0.0).to(tl.float32)
    y = h * rstd * weight
    tl.store(y_ptr + row * n_cols + cols, y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def rms_norm_backward_kernel(dy_ptr, dh_ptr, h_ptr, weight_ptr, rstd_ptr, dx_ptr, dw_ptr, dy_stride, dh_stride, h_stride, n_rows, n_cols,
                             HAS_DH: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    program = tl.program_id(0)
    cols = tl.arange(0, BLOCK)
    inside = cols < n_cols
    weight = tl.load(weight_ptr + cols, mask=inside, other=0.0).to(tl.float32)
    dw = tl.zeros([BLOCK], dtype=tl.float32)
    for row_number in range(program, n_rows, tl.num_programs(0)):
        row = tl.cast(row_number, tl.int64)
        rstd = tl.load(rstd_ptr + row)
        normed = tl.load(h_ptr + row * h_stride + cols, mask=inside, other=0.0).to(tl.float32) * rstd
        dy = tl.load(dy_ptr + row * dy_stride + cols, mask=inside, other=0.0).to(tl.float32)
        dw += dy * normed
        dnormed = dy * weight
        dx = (dnormed - normed * (tl.sum(dnormed * normed, axis=0) / n_cols)) * rstd
        if HAS_DH:
            dx += tl.load(dh_ptr + row * dh_stride + cols, mask=inside, other=0.0).to(tl.float32)
        tl.store(dx_ptr + row * n_cols + cols, dx.to(dx_ptr.dtype.element_ty), mask=inside)
    tl.store(dw_ptr + program * n_cols + cols, dw, mask=inside)


def forward(
    x_RH: Tensor, residual_RH: Tensor | None, weight_H: Tensor, eps: float, y_RH: Tensor, h_RH: Tensor | None, rstd_R: Tensor
) -> None:
    """Fill y, rstd (fp32) and, with a residual, h; these three are contiguous."""
    second, sum_RH = (x_RH, y_RH) if residual_RH is None or h_RH is None else (residual_RH, h_RH)
    rms_norm_kernel[(x_RH.size(0),)](
        x_RH, second, weight_H, y_RH, sum_RH, rstd_R, x_RH.stride(0), second.stride(0), x_RH.size(1), eps,
        HAS_RESIDUAL=residual_RH is not None, **config(x_RH.size(1)),
    )  # fmt: skip


def backward(dy_RH: Tensor, dh_RH: Tensor | None, h_RH: Tensor, weight_H: Tensor, rstd_R: Tensor, dx_RH: Tensor, dw_PH: Tensor) -> None:
    """Fill dx and dw's partial sums (fp32), one a program; both are contiguous. dh is what reached h past the norm."""
    passed = dy_RH if dh_RH is None else dh_RH
    rms_norm_backward_kernel[(dw_PH.size(0),)](
        dy_RH, passed, h_RH, weight_H, rstd_R, dx_RH, dw_PH, dy_RH.stride(0), passed.stride(0), h_RH.stride(0), *h_RH.shape,
        HAS_DH=dh_RH is not None, **config(h_RH.size(1)),
    )  # fmt: skip
