"""RMSNorm, alone and of a sum, and its gradient."""

from __future__ import annotations

import pytest
import torch

from megatron_snow.kernels import reference
from megatron_snow.kernels.triton_ops import rms_norm
from tests.kernels.interpreted.cases import every_case
from tests.kernels.interpreted.oracle import (
    DTYPES,
    Draw,
    caught,
    demand,
    gradients,
    guarded,
    in_any_order,
    mutant,
    within_floor,
    within_twice,
)


def prove(module, draw: Draw) -> None:
    rows, cols, programs = draw.one_of(1, 2, 3, 5, 8), draw.one_of(2, 3, 17, 64, 127, 128, 129, 257, 1000), draw.one_of(1, 2, 3, 9)
    scale, eps, has_residual = draw.scale(), draw.one_of(1e-6, 1e-5, 1e-2), draw.one_of(True, False)
    x, dy = draw.tensor(rows, cols, scale=scale), draw.tensor(rows, cols, scale=draw.scale())
    residual, dh = (draw.tensor(rows, cols, scale=scale) if has_residual else None for _ in range(2))
    weight = draw.tensor(cols, dtype=draw.one_of(draw.dtype, torch.float32))

    def run():
        y, h, rstd, dx = (guarded(shape, dtype) for shape, dtype in (((rows, cols), x.dtype), ((rows, cols), x.dtype),
                                                                   ((rows,), torch.float32), ((rows, cols), x.dtype)))  # fmt: skip
        sums = guarded((programs, cols), torch.float32)
        module.forward(x, residual, weight, eps, y.view, h.view if has_residual else None, rstd.view)
        normed = h.check("h") if has_residual else x
        module.backward(dy, dh, normed, weight, rstd.check("rstd"), dx.view, sums.view)
        return {"y": y.check("y"), "h": normed, "dx": dx.check("dx"), "sums": sums.check("sums of dw")}

    found = in_any_order(run)
    h = found["h"]
    if has_residual:
        demand(torch.equal(h, reference.add_rms_norm(x, residual, weight, eps)[1]), "h: not x + residual, rounded")
    exact = gradients(lambda *inputs: reference.rms_norm(*inputs, eps), [h.double(), weight.double()], dy.double())
    plain = gradients(lambda *inputs: reference.rms_norm(*inputs, eps), [h, weight], dy)
    within_floor("y", found["y"], exact[0])
    within_floor("dx", found["dx"], exact[1] if dh is None else exact[1] + dh.double())
    within_twice("dw", found["sums"].sum(0).to(weight.dtype), plain[2], exact[2])


@every_case
def test_against_float64(draw):
    prove(rms_norm, draw)


MUTANTS = {
    "divides by the block": ("tl.sum(h * h, axis=0) / n_cols", "tl.sum(h * h, axis=0) / BLOCK"),
    "stores past the row": ("y.to(y_ptr.dtype.element_ty), mask=inside)", "y.to(y_ptr.dtype.element_ty))"),
    "reads past the row": (
        "h = tl.load(x_ptr + row * x_stride + cols, mask=inside, other=0.0)",
        "h = tl.load(x_ptr + row * x_stride + cols)",
    ),
    "eps outside the root": ("tl.rsqrt(tl.sum(h * h, axis=0) / n_cols + eps)", "1 / (tl.sqrt(tl.sum(h * h, axis=0) / n_cols) + eps)"),
    "rounds before the weight": ("y = h * rstd * weight", "y = (h * rstd).to(y_ptr.dtype.element_ty).to(tl.float32) * weight"),
    "norms the unrounded sum": ("h = rounded.to(tl.float32)", "h = h"),
    "a gain of one percent": ("y = h * rstd * weight", "y = h * rstd * weight * 1.01"),
    "ignores the row's stride": ("row * x_stride", "row * n_cols"),
    "leaves out the last row": ("rms_norm_kernel[(x_RH.size(0),)]", "rms_norm_kernel[(max(1, x_RH.size(0) - 1),)]"),
    "dx without the mean": ("dnormed - normed * (tl.sum(dnormed * normed, axis=0) / n_cols)", "dnormed"),
    "dx's mean over the block": ("tl.sum(dnormed * normed, axis=0) / n_cols", "tl.sum(dnormed * normed, axis=0) / BLOCK"),
    "dx without dh": ("dx += tl.load", "dx += 0 * tl.load"),
    "dw from the last row alone": ("dw += dy * normed", "dw = dy * normed"),
    "dw in the wrong place": ("dw_ptr + program * n_cols", "dw_ptr"),
    "depends on another program": (
        "tl.store(rstd_ptr + row, rstd)",
        "rstd += 0 * tl.load(rstd_ptr + tl.maximum(row - 1, 0))\n    tl.store(rstd_ptr + row, rstd)",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_bug_is_caught(name, tmp_path):
    assert caught(prove, mutant(rms_norm, *MUTANTS[name], tmp_path))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_power_of_two_does_not_matter_without_eps(dtype):
    x, weight = torch.randn(3, 100, generator=torch.Generator().manual_seed(1)).to(dtype), torch.ones(100)
    found = []
    for factor in (1, 4):
        y, rstd = torch.empty_like(x), torch.empty(3)
        rms_norm.forward(x * factor, None, weight, 0.0, y, None, rstd)
        found.append(y)
    assert torch.equal(*found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", ["largest", "denormal", "zero"])
def test_extreme_values(dtype, value):
    limits = torch.finfo(dtype)
    x = torch.full((2, 5), {"largest": limits.max, "denormal": limits.smallest_normal / 4, "zero": 0.0}[value], dtype=dtype)
    y, rstd = torch.empty_like(x), torch.empty(2)
    rms_norm.forward(x, None, torch.ones(5), 1e-5, y, None, rstd)
    assert torch.equal(y, reference.rms_norm(x, torch.ones(5), 1e-5))
