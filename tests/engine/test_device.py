"""The device layer on a machine without a GPU: what megatron-core asks, answered in a process of its own."""

from __future__ import annotations

import pytest
import torch

from megatron_snow import engine


def answers():
    from megatron_snow.engine.device import prepare_device

    device = prepare_device()
    assert prepare_device() is device
    tensor = torch.zeros(2, device="cuda")
    return {
        "device": device.type,
        "created": tensor.device.type,
        "tensor": torch.tensor([1.0], dtype=torch.float, device="cuda").device.type,
        "moved": tensor.cuda().to("cuda").to(device="cuda:0").device.type,
        "kept dtype": str(tensor.to(torch.bfloat16).dtype),
        "type": tensor.type(),
        "bf16 type": tensor.bfloat16().type(),
        "converted": str(tensor.type(torch.int64).dtype),
        "pinned": torch.zeros(1, pin_memory=True).is_pinned(),
        "current": str(torch.cuda.current_device()),
        "available": torch.cuda.is_available(),
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="the layer does nothing where a GPU is")
def test_cuda_means_cpu(workers):
    assert workers.run(1, answers)[0] == {
        "device": "cpu",
        "created": "cpu",
        "tensor": "cpu",
        "moved": "cpu",
        "kept dtype": "torch.bfloat16",
        "type": "torch.cuda.FloatTensor",
        "bf16 type": "torch.cuda.BFloat16Tensor",
        "converted": "torch.int64",
        "pinned": False,
        "current": "cpu",
        "available": False,
    }


def test_importing_changes_nothing():
    """Only `prepare_device` does."""
    if torch.cuda.is_available() or engine.device.prepare_device.cache_info().currsize:
        pytest.skip("another test of this process called it")
    assert torch.zeros(1).type() == "torch.FloatTensor"
