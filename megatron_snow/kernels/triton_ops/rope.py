"""RoPE on q and k in one launch, in place if the output is the input.

    first'  = first cos₁ - second sin₁       (the halves of a head; cos and sin have halves too)
    second' = second cos₂ + first sin₂       the gradient is the transpose: sin₁, sin₂ become -sin₂, -sin₁

A program has all heads at one position of one sequence and reads the table once for both: 8 D bytes a head in bf16 and
8 D for the table, which the sequences of a batch find in the cache. Many heads a program make loads of 128 bits, one head of 32.
"""

# mypy: disable-error-code="no-untyped-def"
# Triton reads the annotations of a kernel itself.
from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

MOST_HEADS_AT_ONCE = 32


@triton.jit
def _rotate_heads(x_ptr, out_ptr, x_stride, out_stride, n_heads, half, cos1, cos2, sin1, sin2, HEADS: tl.constexpr, HALF: tl.constexpr):
    pair = tl.arange(0, HALF)[None, :]
    for start in range(0, n_heads, HEADS):
        head = (start + tl.arange(0, HEADS))[:, None]
        inside = (head < n_heads) & (pair < half)
        at = x_ptr + head * x_stride + pair
        first = tl.load(at, mask=inside, other=0.0).to(tl.float32)
        second = tl.load(at + half, mask=inside, other=0.0).to(tl.float32)
        to = out_ptr + head * out_stride + pair
        tl.store(to, (first * cos1 - second * sin1).to(out_ptr.dtype.element_ty), mask=inside)
        tl.store(to + half, (second * cos2 + first * sin2).to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def rope_kernel(q_ptr, k_ptr, q_out_ptr, k_out_ptr, cos_ptr, sin_ptr, q_s, q_b, q_n, k_s, k_b, k_n, qo_s, qo_b, qo_n, ko_s, ko_b, ko_n,
                batch, q_heads, k_heads, half, INVERSE: tl.constexpr, HAS_K: tl.constexpr,
                Q_HEADS: tl.constexpr, K_HEADS: tl.constexpr, HALF: tl.constexpr):  # fmt: skip
    position = (tl.program_id(0) // batch).to(tl.int64)
    sequence = (tl.program_id(0) % batch).to(tl.int64)
    pair = tl.arange(0, HALF)[None, :]
    at = position * 2 * half + pair
    cos1 = tl.load(cos_ptr + at, mask=pair < half, other=0.0).to(tl.float32)
    cos2 = tl.load(cos_ptr + at + half, mask=pair < half, other=0.0).to(tl.float32)
    sin1 = tl.load(sin_ptr + at, mask=pair < half, other=0.0).to(tl.float32)
    sin2 = tl.load(sin_ptr + at + half, mask=pair < half, other=0.0).to(tl.float32)
    if INVERSE:
        kept = sin1
        sin1 = -sin2
        sin2 = -kept
    _rotate_heads(q_ptr + position * q_s + sequence * q_b, q_out_ptr + position * qo_s + sequence * qo_b, q_n, qo_n, q_heads, half,
                  cos1, cos2, sin1, sin2, Q_HEADS, HALF)  # fmt: skip
    if HAS_K:
        _rotate_heads(k_ptr + position * k_s + sequence * k_b, k_out_ptr + position * ko_s + sequence * ko_b, k_n, ko_n, k_heads, half,
                      cos1, cos2, sin1, sin2, K_HEADS, HALF)  # fmt: skip


def config(q_heads: int, k_heads: int, half: int) -> dict[str, int]:
    """All heads at once up to 32; 8 elements to a thread."""
    q_tile, k_tile = (min(MOST_HEADS_AT_ONCE, triton.next_power_of_2(heads)) for heads in (q_heads, k_heads))
    pairs = triton.next_power_of_2(half)
    return {"Q_HEADS": q_tile, "K_HEADS": k_tile, "HALF": pairs, "num_warps": min(8, max(1, q_tile * pairs // 256))}


def rotate(q_SBND: Tensor, k_SBGD: Tensor | None, q_out_SBND: Tensor, k_out_SBGD: Tensor | None, cos_SD: Tensor, sin_SD: Tensor,
           inverse: bool) -> None:  # fmt: skip
    """Fill the outputs; any strides but the last, which is 1. cos and sin are contiguous."""
    k, k_out = (q_SBND, q_out_SBND) if k_SBGD is None or k_out_SBGD is None else (k_SBGD, k_out_SBGD)
    length, batch, q_heads, size = q_SBND.shape
    rope_kernel[(length * batch,)](
        q_SBND, k, q_out_SBND, k_out, cos_SD, sin_SD, *q_SBND.stride()[:3], *k.stride()[:3], *q_out_SBND.stride()[:3], *k_out.stride()[:3],
        batch, q_heads, k.size(2), size // 2, INVERSE=inverse, HAS_K=k_SBGD is not None, **config(q_heads, k.size(2), size // 2),
    )  # fmt: skip
