"""The specification against torch's own functions in float64, and its gradients against finite differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from megatron_snow.kernels import reference


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def rotary_tables(length, size):
    angles = torch.outer(torch.arange(length).double(), 0.5 ** torch.arange(size // 2).double()).repeat(1, 2)
    return angles.cos(), angles.sin()


def test_rms_norm_is_torchs():
    x, weight = random(3, 5, 8), random(8, seed=1)
    torch.testing.assert_close(reference.rms_norm(x, weight, 1e-3), F.rms_norm(x, (8,), weight, 1e-3))


def test_swiglu_gates_with_the_first_half():
    x = random(4, 6)
    torch.testing.assert_close(reference.swiglu(x), F.silu(x[:, :3]) * x[:, 3:])


def test_rope_is_a_rotation_of_pairs():
    x, (cos, sin) = random(7, 2, 3, 8), rotary_tables(7, 8)
    pairs = torch.complex(x[..., :4], x[..., 4:]) * torch.complex(cos, sin)[:, None, None, :4]
    torch.testing.assert_close(reference.rope(x, cos, sin), torch.cat((pairs.real, pairs.imag), -1))
    torch.testing.assert_close(reference.rope(reference.rope(x, cos, sin), cos, -sin), x)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_attention_is_torchs(groups):
    q, k, v = random(5, 2, 4, 8), random(5, 2, groups, 8, seed=1), random(5, 2, groups, 8, seed=2)
    heads_first = [x.permute(1, 2, 0, 3) for x in (q, k, v)]
    expected = F.scaled_dot_product_attention(*heads_first, is_causal=True, enable_gqa=True).permute(2, 0, 1, 3)
    torch.testing.assert_close(reference.attention(q, k, v), expected)


def test_attention_of_a_later_chunk():
    """Queries 3.. with offset 3 are the rows 3.. of the whole."""
    q, k, v = random(5, 2, 2, 4), random(5, 2, 2, 4, seed=1), random(5, 2, 2, 4, seed=2)
    torch.testing.assert_close(reference.attention(q[3:], k, v, offset=3), reference.attention(q, k, v)[3:])


def test_cross_entropy_is_torchs_without_the_padding():
    logits, targets = random(6, 10), torch.tensor([0, 1, 2, 3, 4, 6])
    expected = F.cross_entropy(logits[:, :7], targets, reduction="none")
    torch.testing.assert_close(reference.cross_entropy(logits, targets, 7), expected)


def test_gradients():
    cos, sin = rotary_tables(3, 4)
    assert torch.autograd.gradcheck(lambda x, w: reference.rms_norm(x, w, 1e-5), (random(2, 4), random(4, seed=1)))
    assert torch.autograd.gradcheck(reference.swiglu, (random(2, 6),))
    assert torch.autograd.gradcheck(lambda x: reference.rope(x, cos, sin), (random(3, 1, 2, 4),))
    assert torch.autograd.gradcheck(reference.attention, (random(3, 1, 2, 4), random(3, 1, 1, 4, seed=1), random(3, 1, 1, 4, seed=2)))
    assert torch.autograd.gradcheck(lambda x: reference.cross_entropy(x, torch.tensor([0, 2]), 3), (random(2, 4),))


def test_adamw_is_torchs():
    params = [random(3, 4).detach(), random(5, seed=1).detach()]
    theirs = [torch.nn.Parameter(param.clone()) for param in params]
    optimizer = torch.optim.AdamW(theirs, lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, foreach=False)
    means, squares = [torch.zeros_like(p) for p in params], [torch.zeros_like(p) for p in params]
    for step in range(1, 4):
        grads = [random(*param.shape, seed=step).detach() for param in params]
        for parameter, grad in zip(theirs, grads):
            parameter.grad = grad
        optimizer.step()
        reference.adamw_(params, grads, means, squares, step=step, lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    for param, parameter in zip(params, theirs):
        torch.testing.assert_close(param, parameter.detach())


def test_adamw_of_flat_buffers_scales_and_copies():
    state = [random(5, seed=seed).detach().abs() for seed in range(4)]
    expected, copy = [x.clone() for x in state], torch.zeros(5, dtype=torch.bfloat16)
    settings = {"step": 3, "lr": 0.1, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    reference.adamw_flat_(*state, copy, torch.tensor(0.5), **settings)
    param, grad, mean, square = expected
    reference.adamw_([param], [grad / 2], [mean], [square], **settings)
    torch.testing.assert_close(state[0], param)
    assert torch.equal(copy, state[0].bfloat16())


def test_the_residual_is_rounded_before_it_is_normed():
    x, residual, weight = (random(3, 8, seed=1).bfloat16(), random(3, 8, seed=2).bfloat16(), random(8, seed=3).float())
    y, h = reference.add_rms_norm(x, residual, weight, 1e-5)
    assert torch.equal(h, x + residual)
    assert torch.equal(y, reference.rms_norm(x + residual, weight, 1e-5))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_types_are_rounded_once(dtype):
    """The error against float64 is that of rounding the exact result."""
    x, weight = random(50, 64).detach().to(dtype), random(64, seed=1).detach().to(dtype)
    for function in (lambda x, w: reference.rms_norm(x, w, 1e-5), lambda x, w: reference.swiglu(x * w)):
        exact = function(x.double(), weight.double()) if function(x, weight).shape == x.shape else None
        if exact is not None:
            floor = (exact.to(dtype).double() - exact).norm()
            assert (function(x, weight).double() - exact).norm() <= 1.01 * floor
