"""The patched interpreter rounds bf16 as torch does, which rounds as hardware does; unpatched it fails the second test."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def copy_kernel(from_ptr, to_ptr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(to_ptr + at, tl.load(from_ptr + at).to(tl.float32).to(to_ptr.dtype.element_ty))


def test_every_bf16_number_survives_fp32():
    numbers = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    copied = torch.empty_like(numbers)
    copy_kernel[(4,)](numbers, copied, BLOCK=2**14)
    assert torch.equal(copied.isnan(), numbers.isnan())
    assert torch.equal(copied[~numbers.isnan()].view(torch.int16), numbers[~numbers.isnan()].view(torch.int16))


def test_fp32_is_rounded_to_the_nearest_even():
    powers = 10 ** (torch.rand(2**14, generator=torch.Generator().manual_seed(1)) * 60 - 30)
    ties = (torch.arange(1, 2**12) * 2 + 1).float() * 2**-9  # half a step between neighbours of 8 bits, among others
    numbers = torch.cat((powers, -powers, ties, torch.zeros(2**12 - ties.numel()))).float()
    rounded = torch.empty_like(numbers, dtype=torch.bfloat16)
    copy_kernel[(numbers.numel() // 2**12,)](numbers, rounded, BLOCK=2**12)
    assert torch.equal(rounded, numbers.bfloat16())
