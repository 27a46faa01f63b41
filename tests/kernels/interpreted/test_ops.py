"""The torch.library ops: what torch asks of any op, gradients through autograd, input that no kernel takes, the model's path."""

from __future__ import annotations

import pytest
import torch

from megatron_snow.kernels import REGISTRY, reference
from megatron_snow.kernels.triton_ops import ops


def random(*shape, dtype=torch.float32, seed=0, gradient=True):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return values.requires_grad_(gradient)


def tables(length, size):
    angles = torch.rand(length, size // 2, generator=torch.Generator().manual_seed(1)).repeat(1, 2)
    return angles.cos(), angles.sin()


TARGETS = torch.tensor([0, 6, 3])
ARGUMENTS = {
    "rms_norm": (random(2, 3, 8), random(8, seed=1), 1e-5),
    "add_rms_norm": (random(2, 3, 8), random(2, 3, 8, seed=2), random(8, seed=1), 1e-5),
    "rms_norm_backward": (*(random(4, 8, seed=s, gradient=False) for s in (1, 2, 3)), random(8, gradient=False), torch.rand(4)),
    "swiglu": (random(2, 3, 8),),
    "swiglu_backward": (random(3, 4, gradient=False), random(3, 8, gradient=False)),
    "rope": (random(3, 2, 2, 8), *tables(3, 8), False),
    "rope_": (random(3, 2, 2, 8, gradient=False), random(3, 2, 1, 8, gradient=False), *tables(3, 8)),
    "adamw_flat_": (*(torch.rand(9) for _ in range(4)), torch.zeros(9).half(), torch.tensor(0.5), 3, 0.1, 0.9, 0.95, 1e-8, 0.1),
    "sum_of_squares": (random(9, gradient=False),),
    "cross_entropy_parts": (random(3, 9, gradient=False), TARGETS, 0, 7),
    "cross_entropy_gradient_": (random(3, 9, gradient=False), TARGETS, 0, 7, *(torch.rand(3) + 1 for _ in range(3))),
}


@pytest.mark.parametrize("op", ARGUMENTS)
def test_torch_accepts_the_op(op):
    """Schema, fake implementation, autograd registration, tracing with fixed and with symbolic shapes."""
    torch.library.opcheck(getattr(torch.ops.megatron_snow, op).default, ARGUMENTS[op])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("op", "shapes", "others"),
    [
        ("rms_norm", [(2, 3, 40), (40,)], (1e-5,)),
        ("add_rms_norm", [(2, 3, 40), (2, 3, 40), (40,)], (1e-5,)),
        ("swiglu", [(2, 3, 40)], ()),
        ("rope", [(5, 2, 3, 8)], tables(5, 8)),
        ("rope_", [(5, 2, 4, 8), (5, 2, 2, 8)], tables(5, 8)),
    ],
)
def test_gradients_as_specified(op, shapes, others, dtype):
    inputs = [random(*shape, dtype=dtype, seed=seed, gradient=False) for seed, shape in enumerate(shapes)]

    def run(function):
        leaves = [x.clone().requires_grad_() for x in inputs]
        outputs = function(*(leaf * 1 for leaf in leaves), *others)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        sum((output.float() * (i + 1)).square().sum() for i, output in enumerate(outputs)).backward()
        return [*(output.detach() for output in outputs), *(leaf.grad for leaf in leaves)]

    for found, expected in zip(run(getattr(ops, op)), run(getattr(reference, op))):
        assert found.dtype == expected.dtype
        torch.testing.assert_close(found, expected, rtol=4 * torch.finfo(dtype).eps, atol=8 * torch.finfo(dtype).eps)


def test_the_loss_keeps_the_shape_of_its_targets():
    logits, targets = random(2, 3, 9), torch.tensor([[0, 1, 2], [6, 5, 4]])
    loss = ops.vocab_parallel_cross_entropy(logits * 1, targets, vocab_size=7)
    loss.sum().backward()
    wide = logits.detach().clone().requires_grad_()
    reference.cross_entropy(wide, targets, 7).sum().backward()
    torch.testing.assert_close(loss, reference.cross_entropy(logits.detach(), targets, 7))
    torch.testing.assert_close(logits.grad, wide.grad)


def test_torch_compile_keeps_one_graph():
    def layer(x, weight, gate_up, cos, sin):
        return ops.rms_norm(x, weight, 1e-5).sum() + ops.swiglu(gate_up).sum() + ops.rope(gate_up[:, :, None], cos, sin).square().sum()

    inputs = [random(3, 2, 8), random(8, seed=1), random(3, 2, 8, seed=2)]
    loss = layer(*inputs, *tables(3, 8))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")(*inputs, *tables(3, 8))
    torch.testing.assert_close(compiled, loss)
    expected = torch.autograd.grad(loss, inputs)
    for found, other in zip(torch.autograd.grad(compiled, inputs), expected):
        torch.testing.assert_close(found, other)


NUMBERS = (1, 0.1, 0.9, 0.95, 1e-8, 0.1)
STRIDED = torch.zeros(3, 2, 8, 2).transpose(2, 3)
BAD = [
    (lambda: ops.rms_norm(torch.zeros(2, 4, dtype=torch.float64), torch.ones(4), 1e-5), "x: dtype torch.float64; accepted: torch.float32"),
    (lambda: ops.rms_norm(torch.zeros(2, 4), torch.ones(5), 1e-5), r"weight: shape \(5,\); accepted: \(4,\)"),
    (lambda: ops.rms_norm(torch.zeros(1, 16385), torch.ones(16385), 1e-5), "x's last dimension: size 16385; accepted: 1 to 16384"),
    (lambda: ops.add_rms_norm(torch.zeros(2, 4), torch.zeros(1, 4), torch.ones(4), 1e-5), r"residual: shape \(1, 4\)"),
    (lambda: ops.add_rms_norm(torch.zeros(2, 4), torch.zeros(2, 4).half(), torch.ones(4), 1e-5), "residual: dtype torch.float16"),
    (lambda: ops.swiglu(torch.zeros(2, 5)), "gate_up: last dimension 5; accepted: an even one"),
    (lambda: ops.rope(torch.zeros(3, 2, 1, 7), *tables(3, 8)), r"x: shape \(3, 2, 1, 7\); accepted: \[S, B, heads, an even head size\]"),
    (lambda: ops.rope(torch.zeros(3, 2, 1, 8), *tables(4, 8)), r"cos: shape \(4, 8\); accepted: \(3, 8\)"),
    (lambda: ops.rope_(STRIDED, torch.zeros(3, 2, 2, 8), *tables(3, 8)), "q: strides .* accepted: 1 for the last dimension"),
    (
        lambda: torch.ops.megatron_snow.adamw_flat_(
            *(torch.zeros(4) for _ in range(3)), torch.zeros(8)[::2], None, torch.tensor(1.0), *NUMBERS
        ),
        r"square: strides \(2,\); accepted: \(1,\)",
    ),
    (
        lambda: torch.ops.megatron_snow.adamw_flat_(*(torch.zeros(4).half() for _ in range(4)), None, torch.tensor(1.0), *NUMBERS),
        "param: dtype torch.float16; accepted: torch.float32",
    ),
    (lambda: ops.sum_of_squares(torch.zeros(4).long()), "x: dtype torch.int64"),
    (lambda: ops.vocab_parallel_cross_entropy(torch.zeros(2, 4), torch.zeros(2), vocab_size=4), "targets: dtype torch.float32"),
    (lambda: ops.vocab_parallel_cross_entropy(torch.zeros(2, 4), torch.zeros(3).long(), vocab_size=4), r"targets: shape \(3,\)"),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_bad_input_is_named(number):
    call, message = BAD[number]
    with pytest.raises(ValueError, match=message):
        call()


def test_any_strides_but_of_the_last_dimension_are_taken():
    """Views as the model makes them, and worse, give what copies of them give."""
    wide = random(4, 3, 32, gradient=False)
    for view in (wide[..., :16], wide.transpose(0, 1)[..., 4:20], wide.transpose(1, 2)[..., :2]):
        weight = torch.ones(view.size(-1))
        assert torch.equal(ops.rms_norm(view, weight, 1e-5), ops.rms_norm(view.contiguous(), weight, 1e-5))
        assert torch.equal(ops.swiglu(view), ops.swiglu(view.contiguous()))
    heads = wide.unflatten(2, (4, 8))[:, :, 1:3]
    assert torch.equal(ops.rope(heads, *tables(4, 8)), ops.rope(heads.contiguous(), *tables(4, 8)))


def test_the_registry_takes_them_when_told(monkeypatch):
    monkeypatch.setenv("MSNOW_KERNELS", "triton")
    assert REGISTRY.choose("rms_norm").implementation.name == "triton"
