"""AdamW over flat buffers, and the sum of squares."""

from __future__ import annotations

import pytest
import torch

from megatron_snow.kernels import reference
from megatron_snow.kernels.triton_ops import ops, optimizer
from tests.kernels.interpreted.cases import every_case
from tests.kernels.interpreted.oracle import DTYPES, Draw, caught, demand, guarded, in_any_order, mutant, within_floor, within_twice

SIZES = (1, 2, 127, 1023, 1024, 1025, 2500)


def flat(draw: Draw, size: int, scale: float, dtype=torch.float32, positive=False):
    whole = guarded((size,), dtype)
    values = torch.randn(size, generator=draw.generator) * scale
    whole.view.copy_(values.square() if positive else values)
    return whole


def prove_adamw(module, draw: Draw) -> None:
    """The gradient has the case's dtype, and so has the copy."""
    size, scale = draw.one_of(*SIZES), draw.scale()
    settings = {"step": draw.one_of(1, 2, 1000), "lr": draw.one_of(1e-3, 0.1), "eps": draw.one_of(1e-8, 1e-3),
                "weight_decay": draw.one_of(0.0, 0.1)}  # fmt: skip
    betas, factor, has_copy = draw.one_of((0.9, 0.95), (0.8, 0.999)), torch.tensor(draw.one_of(1.0, 0.3)), draw.one_of(True, False)
    state = [flat(draw, size, draw.scale()), flat(draw, size, scale, draw.dtype), flat(draw, size, scale),
             flat(draw, size, scale, positive=True)]  # fmt: skip
    given = [x.view.clone() for x in state]

    def run():
        for x, values in zip(state, given):
            x.view.copy_(values)
        copy = guarded((size,), draw.dtype)
        views = [x.view for x in state]
        module.adamw(*views, copy.view if has_copy else None, factor, beta1=betas[0], beta2=betas[1], **settings)
        found = {name: x.check(name).clone() for name, x in zip(("param", "grad", "mean", "square"), state)}
        return {**found, "copy": copy.check("copy") if has_copy else found["param"].to(draw.dtype)}

    found = in_any_order(run)
    param, grad, mean, square = (x.double() for x in given)
    reference.adamw_flat_(param, grad, mean, square, None, factor.double(), betas=betas, **settings)
    for name, exact in (("param", param), ("mean", mean), ("square", square)):
        within_floor(name, found[name], exact)
    demand(torch.equal(found["grad"], given[1]), "grad: changed")
    demand(torch.equal(found["copy"], found["param"].to(draw.dtype)), "copy: not the parameter, rounded")


def prove_sum(module, draw: Draw) -> None:
    x, programs = flat(draw, draw.one_of(*SIZES), draw.scale(), draw.dtype), draw.one_of(1, 2, 5)

    def run():
        sums = guarded((programs,), torch.float32)
        module.sum_of_squares(x.view, sums.view)
        return {"sums": sums.check("sums")}

    found = in_any_order(run)["sums"].sum()
    within_twice("sum", found, x.view.float().square().sum(), x.view.double().square().sum())


@every_case
def test_adamw_against_float64(draw):
    prove_adamw(optimizer, draw)


@every_case
def test_sum_of_squares_against_float64(draw):
    prove_sum(optimizer, draw)


MUTANTS = {
    "eps inside the root": ("tl.sqrt(square * square_correction) + eps", "tl.sqrt(square * square_correction + eps)"),
    "no correction of v": ("tl.sqrt(square * square_correction)", "tl.sqrt(square)"),
    "decay through the gradient": ("* tl.load(scale_ptr)", "* tl.load(scale_ptr) + 0.01 * tl.load(param_ptr + at, mask=inside, other=0.0)"),
    "no decay": ("kept * param", "param"),
    "the scale is forgotten": ("* tl.load(scale_ptr)", ""),
    "the old mean is used": ("rate * mean /", "rate * (mean - mean_share * grad) /"),
    "the copy is not decayed": ("param.to(copy_ptr", "(param / kept).to(copy_ptr"),
    "square is not written": ("tl.store(square_ptr + at, square, mask=inside)", "tl.store(square_ptr + at, square, mask=at < 0)"),
    "stores past the end": ("tl.store(mean_ptr + at, mean, mask=inside)", "tl.store(mean_ptr + at, mean)"),
    "the old gradient counts twice": ("mean += mean_share", "mean += 2 * mean_share"),
}
SUM_MUTANTS = {
    "absolute values": ("sums += x * x", "sums += tl.abs(x)"),
    "the last block is missing": ("tl.cdiv(size, BLOCK), tl.num", "size // BLOCK, tl.num"),
    "every program sums all": ("range(program, tl", "range(0, tl"),
    "reads past the end": (
        "mask=at < size, other=0.0).to(tl.float32)\n        sums",
        "mask=at < size + 1, other=0.0).to(tl.float32)\n        sums",
    ),
    "the last block alone": ("sums += x * x", "sums = x * x"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_bug_in_adamw_is_caught(name, tmp_path):
    assert caught(prove_adamw, mutant(optimizer, *MUTANTS[name], tmp_path))


@pytest.mark.parametrize("name", SUM_MUTANTS)
def test_a_bug_in_the_sum_is_caught(name, tmp_path):
    assert caught(prove_sum, mutant(optimizer, *SUM_MUTANTS[name], tmp_path))


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_buffer_or_two_give_the_same_bits(dtype):
    generator = torch.Generator().manual_seed(1)
    state = [torch.randn(1500, generator=generator) for _ in range(3)]
    grad = torch.randn(1500, generator=generator).to(dtype)
    settings = {"step": 3, "lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    results = []
    for cuts in ([1500], [700, 800]):
        param, mean, square = state[0].clone(), state[1].clone(), state[2].square()
        for parts in zip(*(x.split(cuts) for x in (param, grad, mean, square))):
            ops.adamw_flat_(*parts, None, torch.tensor(1.0), **settings)
        results.append(torch.cat((param, mean, square)))
    assert torch.equal(*results)
