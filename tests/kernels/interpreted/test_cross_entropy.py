"""Cross entropy over a vocabulary in one piece or in several, and its gradient over the logits."""

from __future__ import annotations

from unittest import mock

import pytest
import torch

from megatron_snow.kernels import reference
from megatron_snow.kernels.triton_ops import cross_entropy
from tests.kernels.interpreted.cases import every_case
from tests.kernels.interpreted.oracle import DTYPES, Draw, caught, demand, gradients, guarded, in_any_order, mutant, within_twice


def loss_and_gradient(module, pieces, targets, vocab_size, grad):
    """What the ranks of a tensor-parallel group do, one after another: (loss, gradient over the pieces)."""
    width, rows = pieces[0].view.size(1), targets.numel()
    parts = []
    for rank, piece in enumerate(pieces):
        valid = min(width, max(0, vocab_size - rank * width))
        part = [guarded((rows,), torch.float32) for _ in range(3)]
        module.forward(piece.view, targets, rank * width, valid, *(x.view for x in part))
        parts.append([x.check(name) for x, name in zip(part, ("top", "total", "target"))])
    tops, totals, found = (torch.stack(column) for column in zip(*parts))
    top = tops.amax(0)
    total = (totals * (tops - top).exp()).sum(0)
    for rank, piece in enumerate(pieces):
        valid = min(width, max(0, vocab_size - rank * width))
        module.backward(piece.view, targets, rank * width, valid, top, total, grad)
    return total.log() - (found.sum(0) - top), torch.cat([piece.check("gradient") for piece in pieces], dim=1)


def prove(module, draw: Draw, ranks: int | None = None) -> None:
    ranks = ranks or draw.one_of(1, 1, 2, 3)
    rows, width = draw.one_of(1, 2, 3), draw.one_of(1, 2, 127, 128, 129, 256, 385, 1000, 4097)
    vocab_size = max(1, ranks * width - draw.one_of(0, 0, 1, width + 1))
    logits = torch.randn(rows, ranks * width, generator=draw.generator) * draw.scale()
    logits[:, vocab_size:] = draw.one_of(1e4, float("inf"), float("-inf"))  # what padding holds must not matter
    logits = logits.to(draw.dtype)
    targets = torch.randint(0, vocab_size, (rows,), generator=draw.generator)
    targets[0] = vocab_size - 1
    grad = torch.rand(rows, generator=draw.generator)
    gap = draw.one_of(0, 1, 16)

    def run():
        pieces = [guarded((rows, width), draw.dtype, gap) for _ in range(ranks)]
        for piece, values in zip(pieces, logits.chunk(ranks, dim=1)):
            piece.view.copy_(values)
        return dict(zip(("loss", "gradient"), loss_and_gradient(module, pieces, targets, vocab_size, grad)))

    with mock.patch.object(module, "BLOCK", draw.one_of(128, 128, 4096)):  # several blocks a row at little cost
        found = in_any_order(run)
    specified = lambda x: reference.cross_entropy(x, targets, vocab_size)  # noqa: E731
    exact, plain = gradients(specified, [logits.double()], grad.double()), gradients(specified, [logits], grad)
    demand(not bool(found["gradient"][:, vocab_size:].count_nonzero()), "gradient: not 0 in the padding")
    for (name, result), one, other in zip(found.items(), plain, exact):
        within_twice(name, result, one, other)


@every_case
def test_against_float64(draw):
    prove(cross_entropy, draw)


MUTANTS = {
    "padding takes part": ("x = tl.load(row_ptr + cols, mask=cols < n_valid", "x = tl.load(row_ptr + cols, mask=cols < n_valid + 1"),
    "the first block alone": ("for start in range(0, n_valid, BLOCK):", "for start in range(0, 1, BLOCK):"),
    "the sum is not rescaled": ("total * tl.exp(top - base)", "total"),
    "no maximum": ("base = tl.where(higher == float(\"-inf\"), 0.0, higher)", "base = tl.where(higher == float(\"-inf\"), 0.0, 0.0)"),
    "targets of other ranks count": ("mine = (column >= 0) & (column < n_valid)", "mine = column == column"),
    "the first column is forgotten": ("cols == column, grad, 0.0", "cols == column + first, grad, 0.0"),
    "the onehot is not scaled": ("cols == column, grad, 0.0", "cols == column, 1.0, 0.0"),
    "padding keeps its logits": ("mask=cols < n_cols)", "mask=cols < n_valid)"),
    "padding has a gradient": ("result = tl.where(cols < n_valid, result, 0.0)", "result = result + 0.5 * (cols >= n_valid)"),
    "ignores the row's stride": ("at = logits_ptr + row * stride + cols", "at = logits_ptr + row * n_cols + cols"),
    "writes past the row": ("result.to(logits_ptr.dtype.element_ty), mask=cols < n_cols)", "result.to(logits_ptr.dtype.element_ty))"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_a_bug_is_caught(name, tmp_path):
    assert caught(prove, mutant(cross_entropy, *MUTANTS[name], tmp_path), cases=12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_shift_of_all_logits_does_not_matter(dtype):
    logits = torch.randint(-8, 8, (3, 300), generator=torch.Generator().manual_seed(1)).to(dtype)  # exact in each dtype, shifted too
    targets, results = torch.tensor([0, 299, 7]), []
    for shift in (0, 16):
        piece = guarded((3, 300), dtype)
        piece.view.copy_(logits + shift)
        results.append(loss_and_gradient(cross_entropy, [piece], targets, 300, torch.ones(3)))
    assert all(torch.equal(one, other) for one, other in zip(*results))


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_however_many_ranks(ranks):
    logits, targets = torch.randn(4, 512, generator=torch.Generator().manual_seed(1)) * 5, torch.tensor([0, 64, 400, 401])
    results = []
    for size in (1, ranks):
        pieces = [guarded((4, 512 // size), torch.float32) for _ in range(size)]
        for piece, values in zip(pieces, logits.chunk(size, dim=1)):
            piece.view.copy_(values)
        results.append(loss_and_gradient(cross_entropy, pieces, targets, 402, torch.ones(4)))
    for one, other in zip(*results):
        torch.testing.assert_close(one, other, rtol=5e-7, atol=2e-8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_logits_and_ignored_rows(dtype):
    """A row without weight has no gradient, whatever it holds; the largest numbers and -inf are logits like others."""
    limits = torch.finfo(dtype)
    logits = torch.tensor([[limits.max, 0.0, limits.min], [float("-inf"), 1.0, 2.0], [5.0, -3.0, 1.0]], dtype=dtype)
    targets, grad = torch.tensor([0, 2, 1]), torch.tensor([1.0, 1.0, 0.0])
    piece = guarded((3, 3), dtype)
    piece.view.copy_(logits)
    loss, gradient = loss_and_gradient(cross_entropy, [piece], targets, 3, grad)
    exact = gradients(lambda x: reference.cross_entropy(x, targets, 3), [logits.double()], grad.double())
    torch.testing.assert_close(loss.double(), exact[0], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(gradient.double(), exact[1], rtol=limits.eps, atol=1e-7)
    assert not gradient[2].count_nonzero()
