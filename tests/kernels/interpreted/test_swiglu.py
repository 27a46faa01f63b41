"""SwiGLU and its gradient."""

from __future__ import annotations

import pytest
import torch

from megatron_snow.kernels import reference
from megatron_snow.kernels.triton_ops import swiglu
from tests.kernels.interpreted.cases import every_case
from tests.kernels.interpreted.oracle import DTYPES, Draw, caught, gradients, guarded, in_any_order, mutant, within_floor


def prove(module, draw: Draw) -> None:
    rows, cols = draw.one_of(1, 2, 3, 5), draw.one_of(1, 7, 127, 128, 129, 1023, 1024, 1025, 2100)
    gate_up, dy = draw.tensor(rows, 2 * cols, scale=draw.scale()), draw.tensor(rows, cols, scale=draw.scale())

    def run():
        y, grad = guarded((rows, cols), draw.dtype), guarded((rows, 2 * cols), draw.dtype)
        module.forward(gate_up, y.view)
        module.backward(dy, gate_up, grad.view)
        return {"y": y.check("y"), "grad": grad.check("gradient")}

    found = in_any_order(run)
    exact = gradients(reference.swiglu, [gate_up.double()], dy.double())
    plain = gradients(reference.swiglu, [gate_up], dy)
    within_floor("y", found["y"], exact[0])
    within_floor("gradient", found["grad"], exact[1], plain[1])  # near gate = -1.28, where silu is lowest, 1 + gate (1 - s) cancels


@every_case
def test_against_float64(draw):
    prove(swiglu, draw)


MUTANTS = {
    "gates with the second half": ("y = gate * tl.sigmoid(gate) * up", "y = up * tl.sigmoid(up) * gate"),
    "gelu for silu": ("y = gate * tl.sigmoid(gate) * up", "y = gate * tl.sigmoid(1.702 * gate) * up"),
    "rounds the product early": (
        "y = gate * tl.sigmoid(gate) * up", "y = (gate * tl.sigmoid(gate)).to(y_ptr.dtype.element_ty).to(tl.float32) * up"
    ),
    "stores past the row": ("y.to(y_ptr.dtype.element_ty), mask=inside)", "y.to(y_ptr.dtype.element_ty))"),
    "the last block is missing": ("y_RF.size(0) * triton.cdiv(y_RF.size(1), BLOCK)", "y_RF.size(0) * max(1, y_RF.size(1) // BLOCK)"),
    "ignores dy's stride": ("row * dy_stride", "row * n_cols"),
    "derivative without 1 - s": ("share * (1 + gate * (1 - share))", "share * (1 + gate)"),
    "up's gradient without the share": ("dup = dy * gate * share", "dup = dy * gate"),
    "gradients change places": ("tl.store(grad_row + cols, dgate", "tl.store(grad_row + cols, dup"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_a_bug_is_caught(name, tmp_path):
    assert caught(prove, mutant(swiglu, *MUTANTS[name], tmp_path))


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_gates(dtype):
    """Where exp(-gate) overflows the share is 0, not NaN; the specification's fp32 says what is left."""
    limits = torch.finfo(dtype)
    gates = torch.tensor([limits.max, limits.min, 100.0, -100.0, limits.smallest_normal / 4, 0.0], dtype=dtype)
    gate_up = torch.cat((gates, torch.full_like(gates, 0.5)))[None]
    y = torch.empty(1, 6, dtype=dtype)
    swiglu.forward(gate_up, y)
    torch.testing.assert_close(y, reference.swiglu(gate_up), rtol=1e-6, atol=0.0)
