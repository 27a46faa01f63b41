"""What runs against what is specified: errors of both against float64."""

from __future__ import annotations

import pytest
import torch

from megatron_snow.kernels import fused, reference


def error(result, exact):
    return float((result.double() - exact).norm() / exact.norm())


def gradients(function, inputs, upstream):
    inputs = [x.detach().requires_grad_() for x in inputs]
    output = function(*inputs)
    output.backward(upstream.to(output.dtype))
    return [output.detach(), *(x.grad for x in inputs)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("queries", "keys", "offset"), [(33, 33, 0), (16, 48, 32), (16, 16, 0), (1, 7, 6)])
@pytest.mark.parametrize("groups", [1, 3, 6])
def test_attention(dtype, queries, keys, offset, groups):
    generator = torch.Generator().manual_seed(queries + groups)
    q, k, v = (
        torch.randn(size, 2, heads, 16, generator=generator).to(dtype) for size, heads in ((queries, 6), (keys, groups), (keys, groups))
    )
    upstream = torch.randn(queries, 2, 6, 16, generator=generator)
    exact = gradients(lambda *x: reference.attention(*x, offset), [x.double() for x in (q, k, v)], upstream.double())
    specified = gradients(lambda *x: reference.attention(*x, offset), [q, k, v], upstream)
    found = gradients(lambda *x: fused.attention(*x, offset), [q, k, v], upstream)
    floor = torch.finfo(dtype).eps
    for name, ours, plain, true in zip(("output", "q", "k", "v"), found, specified, exact):
        assert ours.dtype == dtype
        assert error(ours, true) <= 2 * error(plain, true) + floor, name


def test_adamw():
    generator = torch.Generator().manual_seed(0)
    shapes = [(5, 7), (64,), (1,), (33, 2)]
    ours, specified = ([torch.randn(shape, generator=generator.manual_seed(1)) for shape in shapes] for _ in range(2))
    states = [[torch.zeros(shape) for shape in shapes] for _ in range(4)]
    for step in range(1, 5):
        grads = [torch.randn(shape, generator=generator) for shape in shapes]
        settings = {"step": step, "lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
        fused.adamw_(ours, grads, states[0], states[1], **settings)
        reference.adamw_(specified, grads, states[2], states[3], **settings)
    for one, other in zip([*ours, *states[0], *states[1]], [*specified, *states[2], *states[3]]):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_adamw_of_nothing():
    fused.adamw_([], [], [], [], step=1, lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
