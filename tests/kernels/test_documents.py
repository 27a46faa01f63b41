"""Attention within documents: what runs against what is specified, and the specification against attention of each document alone."""

from __future__ import annotations

import sys
import types

import pytest
import torch

from megatron_snow.kernels import documents, reference

NUMBERS = torch.tensor([[0] * 9 + [1] * 1 + [2] * 20 + [-1] * 3, [0] * 33])


def inputs(dtype, groups, queries=33):
    generator = torch.Generator().manual_seed(groups)
    return [torch.randn(size, 2, heads, 16, generator=generator).to(dtype) for size, heads in ((queries, 6), (33, groups), (33, groups))]


def with_gradients(function, tensors, *args):
    tensors = [x.detach().requires_grad_() for x in tensors]
    output = function(*tensors, *args)
    output.square().sum().backward()
    return [output.detach(), *(x.grad for x in tensors)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("queries", "offset"), [(33, 0), (8, 8), (9, 24)])
@pytest.mark.parametrize("groups", [1, 6])
def test_what_runs_is_what_is_specified(dtype, queries, offset, groups):
    tensors = inputs(dtype, groups, queries)
    seen = slice(0, offset + queries)
    tensors, numbers = [tensors[0], *(x[seen] for x in tensors[1:])], NUMBERS[:, seen]
    exact = with_gradients(reference.document_attention, [x.double() for x in tensors], numbers, offset)
    specified = with_gradients(reference.document_attention, tensors, numbers, offset)
    found = with_gradients(documents.attention, tensors, numbers, offset)
    for ours, plain, true in zip(found, specified, exact):
        assert ours.dtype == dtype
        errors = [float((result.double() - true).norm() / true.norm()) for result in (ours, plain)]
        assert errors[0] <= 2 * errors[1] + torch.finfo(dtype).eps


def test_the_specification_is_attention_of_each_document_alone():
    q, k, v = inputs(torch.float64, 3)
    found = reference.document_attention(q, k, v, NUMBERS)
    assert torch.allclose(found[:, 1:], reference.attention(q, k, v)[:, 1:])
    for first, last in ((0, 9), (9, 10), (10, 30), (30, 33)):
        part = slice(first, last)
        assert torch.allclose(found[part, :1], reference.attention(q[part, :1], k[part, :1], v[part, :1]))


def test_borders_for_flash_attention():
    borders, longest = documents._borders(NUMBERS)
    assert borders.tolist() == [0, 9, 10, 30, 33, 66]
    assert longest == 33


def test_what_flash_attention_is_given(monkeypatch):
    """The package needs a GPU; in its place the specification, document by document, by the same arguments."""

    def varlen(q, k, v, borders_q, borders_k, longest_q, longest_k, causal):
        assert torch.equal(borders_q, borders_k)
        assert longest_q == longest_k == 33
        assert causal
        pieces = [slice(*pair) for pair in zip(borders_q[:-1].tolist(), borders_q[1:].tolist())]
        return torch.cat([reference.attention(*(x[piece, None] for x in (q, k, v)))[:, 0] for piece in pieces])

    monkeypatch.setitem(sys.modules, "flash_attn", types.SimpleNamespace(flash_attn_varlen_func=varlen))
    tensors = inputs(torch.bfloat16, 3)
    found = documents.flash_attention(*tensors, NUMBERS)
    assert torch.equal(found, reference.document_attention(*tensors, NUMBERS))
    wide = [x.float() for x in tensors]  # the package has no fp32: by the mask
    assert torch.allclose(documents.flash_attention(*wide, NUMBERS), reference.document_attention(*wide, NUMBERS), atol=1e-6)


def test_flash_attention_is_not_chosen_without_a_gpu():
    assert documents.missing_flash_attention() == "no GPU"
