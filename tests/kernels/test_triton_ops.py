"""The Triton ops where nothing interprets them: who gets them, and what a tensor on the CPU meets."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from megatron_snow.kernels import REGISTRY, reference, triton_ops

X, WEIGHT = torch.randn(3, 8, generator=torch.Generator().manual_seed(1)), torch.ones(8)


def test_a_kernel_is_not_launched_on_a_cpu_tensor():
    pytest.importorskip("triton")
    from megatron_snow.kernels.triton_ops import ops

    with pytest.raises(ValueError, match="x: device cpu; accepted: cuda, or the CPU with TRITON_INTERPRET=1"):
        ops.rms_norm(X, WEIGHT, 1e-5)
    with pytest.raises(ValueError, match="logits: device cpu"):
        ops.vocab_parallel_cross_entropy(X, torch.zeros(3, dtype=torch.int64), vocab_size=8)


def test_beside_a_gpu_a_cpu_tensor_goes_to_the_reference():
    """On a machine with a GPU the registry has chosen Triton; a model may still be read on the CPU."""
    assert torch.equal(triton_ops.on_gpu("rms_norm", otherwise=reference.rms_norm)(X, WEIGHT, 1e-5), reference.rms_norm(X, WEIGHT, 1e-5))


@pytest.mark.parametrize(
    ("capability", "name"), [((9, 0), "triton"), ((8, 0), "triton"), ((7, 5), "reference")], ids=["hopper", "ampere", "turing"]
)
def test_which_gpu_takes_them(monkeypatch, capability, name):
    monkeypatch.delenv("MSNOW_KERNELS", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    choice = REGISTRY.choose("swiglu")
    assert choice.implementation.name == name
    assert ("not run on a GPU" if name == "triton" else "capability 7.5, and bf16 needs 8.0") in choice.reason


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert triton_ops.missing() == "the package triton is not installed"
