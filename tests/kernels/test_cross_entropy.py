"""The loss over a vocabulary that is padded and split among ranks, against its specification in float64."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from megatron_snow.kernels import cross_entropy, reference, vocab_parallel_cross_entropy

VOCABULARY, PADDED, ROWS = 130, 256, 37


def inputs(dtype, scale=3.0):
    generator = torch.Generator().manual_seed(5)
    logits = (torch.randn(ROWS, PADDED, generator=generator) * scale).to(dtype)
    logits[:, VOCABULARY:] = 1e4  # padding that would win every softmax
    targets = torch.randint(0, VOCABULARY, (ROWS,), generator=generator)
    targets[0] = VOCABULARY - 1
    return logits, targets, torch.rand(ROWS, generator=generator)


def exact(logits, targets, upstream):
    wide = logits.double().requires_grad_()
    loss = reference.cross_entropy(wide, targets, VOCABULARY)
    loss.backward(upstream.double())
    return loss.detach(), wide.grad


@pytest.mark.parametrize("scale", [1e-3, 3.0, 30.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-7), (torch.bfloat16, 2.0**-8)])
@pytest.mark.parametrize("block", [1 << 10, 1 << 19], ids=["blocks", "one-block"])
def test_one_rank(monkeypatch, dtype, tolerance, scale, block):
    monkeypatch.setattr(cross_entropy, "_BLOCK_ELEMENTS", block)
    logits, targets, upstream = inputs(dtype, scale)
    loss, gradient = exact(logits, targets, upstream)
    leaf = logits.clone().requires_grad_()
    found = vocab_parallel_cross_entropy(leaf * 1, targets, vocab_size=VOCABULARY)
    found.backward(upstream)
    assert found.dtype == torch.float32
    assert float((found.detach().double() - loss).norm() / loss.norm()) < 3e-7
    assert float((leaf.grad.double() - gradient).norm() / gradient.norm()) < tolerance
    assert torch.all(leaf.grad[:, VOCABULARY:] == 0)


def test_the_forward_pass_leaves_the_logits():
    """Evaluation may read them again, and fp32 blocks are views of them."""
    logits, targets, _ = inputs(torch.float32)
    before = logits.clone()
    first, second = (vocab_parallel_cross_entropy(logits, targets, vocab_size=VOCABULARY) for _ in range(2))
    assert torch.equal(logits, before)
    assert torch.equal(first, second)


def test_shape_of_the_targets_is_kept():
    logits, targets = torch.randn(3, 4, 8), torch.randint(0, 8, (3, 4))
    loss = vocab_parallel_cross_entropy(logits, targets, vocab_size=8)
    torch.testing.assert_close(loss, reference.cross_entropy(logits, targets, 8))


def split(dtype):
    """Loss and this rank's columns of the gradient."""
    logits, targets, upstream = inputs(dtype)
    rank, size = dist.get_rank(), dist.get_world_size()
    mine = logits.chunk(size, dim=1)[rank].clone().requires_grad_()
    loss = vocab_parallel_cross_entropy(
        mine * 1, targets, vocab_size=VOCABULARY, first=rank * PADDED // size, group=dist.group.WORLD
    )  # fmt: skip
    loss.backward(upstream)
    return loss.detach(), mine.grad


@pytest.mark.parametrize("size", [2, 4])
def test_split_over_ranks(workers, size):
    """With 4 ranks the last has padding alone."""
    loss, gradient = exact(*inputs(torch.float32))
    ranks = workers.run(size, split, torch.float32)
    assert all(torch.equal(found, ranks[0][0]) for found, _grad in ranks)
    assert float((ranks[0][0].double() - loss).norm() / loss.norm()) < 3e-7
    joined = torch.cat([grad for _loss, grad in ranks], dim=1).double()
    assert float((joined - gradient).norm() / gradient.norm()) < 3e-7
