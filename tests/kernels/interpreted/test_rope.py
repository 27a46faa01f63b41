"""RoPE of q and k, in place or not, and its inverse, which is its gradient."""

from __future__ import annotations

import pytest
import torch

from megatron_snow.kernels import reference
from megatron_snow.kernels.triton_ops import rope
from tests.kernels.interpreted.cases import every_case
from tests.kernels.interpreted.oracle import DTYPES, Draw, caught, demand, gradients, guarded, in_any_order, mutant, within_floor


def tables(length, size, seed=0):
    """Angles of any kind; the halves of a row differ, which the model's do not."""
    angles = torch.rand(length, size, generator=torch.Generator().manual_seed(seed)) * 6.3
    return angles.cos(), angles.sin()


def fused(draw: Draw, heads: tuple[int, int, int], length: int, batch: int, size: int, scale: float):
    """q, k and v as views of one projection's output, as in the model, and the whole."""
    whole = guarded((length, batch, sum(heads) * size), draw.dtype, draw.one_of(0, 1, 16))
    whole.view.copy_(torch.randn(whole.view.shape, generator=draw.generator) * scale)
    return whole, [part.unflatten(2, (-1, size)) for part in whole.view.split([count * size for count in heads], dim=2)]


def prove(module, draw: Draw) -> None:
    length, batch, size = draw.one_of(1, 2, 5), draw.one_of(1, 2), draw.one_of(2, 6, 16, 64, 128)
    heads, inverse, in_place = draw.one_of((1, 1, 1), (4, 2, 2), (3, 3, 3), (33, 1, 1)), draw.one_of(False, True), draw.one_of(False, True)
    cos, sin = tables(length, size, draw.seed)
    whole, (q, k, v) = fused(draw, heads, length, batch, size, draw.scale())
    given = whole.view.clone()

    def run():
        whole.view.copy_(given)
        if in_place:
            module.rotate(q, k, q, k, cos, sin, inverse)
            whole.check("q, k and v")
            return {"q": q.clone(), "k": k.clone(), "v": v.clone()}
        outs = [guarded(tuple(x.shape), draw.dtype) for x in (q, k)]
        module.rotate(q, k, outs[0].view, outs[1].view, cos, sin, inverse)
        return {"q": outs[0].check("q"), "k": outs[1].check("k"), "v": v.clone()}

    found = in_any_order(run)
    whole.view.copy_(given)
    demand(torch.equal(found["v"], v), "v: changed")
    for name, x in (("q", q), ("k", k)):
        wide = x.double()
        rotated, gradient = gradients(lambda x: reference.rope(x, cos.double(), sin.double()), [wide], wide)
        within_floor(name, found[name], gradient if inverse else rotated)


@every_case
def test_against_float64(draw):
    prove(rope, draw)


MUTANTS = {
    "turns the other way": ("first * cos1 - second * sin1", "first * cos1 + second * sin1"),
    "one half of the table": ("second * cos2 + first * sin2", "second * cos1 + first * sin1"),
    "the inverse keeps its halves": ("sin1 = -sin2", "sin1 = -sin1"),
    "forgets k": ("if HAS_K:", "if HAS_K and INVERSE:"),
    "forgets heads after 32": ("for start in range(0, n_heads, HEADS):", "for start in range(0, 1, HEADS):"),
    "heads without a mask": ("(head < n_heads) & (pair < half)", "(head < HEADS) & (pair < half)"),
    "the position of the batch": ("at = position * 2 * half + pair", "at = sequence * 2 * half + pair"),
    "ignores the sequence": ("q_ptr + position * q_s + sequence * q_b", "q_ptr + position * q_s"),
    "rounds between": ("(first * cos1 - second * sin1)", "((first * cos1).to(out_ptr.dtype.element_ty).to(tl.float32) - second * sin1)"),
    "reads what it has written": (
        "(second * cos2 + first * sin2)", "(second * cos2 + tl.load(to, mask=inside, other=0.0).to(tl.float32) * sin2)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_a_bug_is_caught(name, tmp_path):
    assert caught(prove, mutant(rope, *MUTANTS[name], tmp_path), cases=12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_there_and_back(dtype):
    """Two roundings away from where it was; lengths of pairs stay."""
    x = torch.randn(4, 2, 3, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
    angles = torch.rand(4, 8).repeat(1, 2)
    there, back = torch.empty_like(x), torch.empty_like(x)
    rope.rotate(x, None, there, None, angles.cos(), angles.sin(), False)
    rope.rotate(there, None, back, None, angles.cos(), angles.sin(), True)
    step = torch.finfo(dtype).eps
    assert float((back.double() - x.double()).norm() / x.double().norm()) <= step
    lengths = [pair.double().unflatten(-1, (2, 8)).norm(dim=-2) for pair in (x, there)]
    torch.testing.assert_close(*lengths, rtol=2 * step, atol=step)
