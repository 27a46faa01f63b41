"""The specification of every op: pure torch, any floating dtype, differentiable, at most ten lines each.

Whatever the dtype of the inputs, the inside is computed in at least fp32 and rounded once at the end. A faster
implementation is right when its error against this file in float64 is that of one rounding (DESIGN 8).

Shapes: S sequence, B batch, H hidden, F feed-forward, N heads, G key-value heads, D head size, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """`x` in fp32, or in float64 if it is that already."""
    return x if x.dtype == torch.float64 else x.float()


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x²) + eps) · weight over the last dimension H (Zhang & Sennrich 2019). Returns x's dtype."""
    wide = widen(x)
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * widen(weight)).to(x.dtype)


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """(rms_norm(h), h) with h = x + residual, rounded to x's dtype before it is normed."""
    h = (widen(x) + widen(residual)).to(x.dtype)
    return rms_norm(h, weight, eps), h


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) · up, [..., 2F] -> [..., F]; the first half of the last dimension is the gate (Shazeer 2020)."""
    gate, up = widen(gate_up).chunk(2, dim=-1)
    return (torch.nn.functional.silu(gate) * up).to(gate_up.dtype)


def rope(x_SBND: Tensor, cos_SD: Tensor, sin_SD: Tensor) -> Tensor:
    """Rotate the pairs (i, i + D/2) by the angle of their position, as Llama does (Su et al. 2021); cos and sin are [S, D]."""
    wide = widen(x_SBND)
    first, second = wide.chunk(2, dim=-1)
    cos, sin = cos_SD[:, None, None], sin_SD[:, None, None]
    return (wide * cos + torch.cat((-second, first), dim=-1) * sin).to(x_SBND.dtype)


def rope_(q_SBND: Tensor, k_SBGD: Tensor, cos_SD: Tensor, sin_SD: Tensor) -> tuple[Tensor, Tensor]:
    """`rope` of both; q and k may be overwritten with the results."""
    return rope(q_SBND, cos_SD, sin_SD), rope(k_SBGD, cos_SD, sin_SD)


def attention(q_SBND: Tensor, k_TBGD: Tensor, v_TBGD: Tensor, offset: int = 0) -> Tensor:
    """Causal attention, query i sees keys 0 .. offset + i; N a multiple of G. Returns [S, B, N, D] in q's dtype."""
    groups = q_SBND.size(2) // k_TBGD.size(2)
    q, k, v = (widen(x).permute(1, 2, 0, 3) for x in (q_SBND, k_TBGD, v_TBGD))
    scores = q @ k.repeat_interleave(groups, 1).transpose(-1, -2) / q.size(-1) ** 0.5
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(offset + 1)
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    return (weights @ v.repeat_interleave(groups, 1)).permute(2, 0, 1, 3).to(q_SBND.dtype)


def document_attention(q_SBND: Tensor, k_TBGD: Tensor, v_TBGD: Tensor, documents_BT: Tensor, offset: int = 0) -> Tensor:
    """`attention` in which query i, at place offset + i, sees only keys of its own document; documents_BT numbers those."""
    groups = q_SBND.size(2) // k_TBGD.size(2)
    q, k, v = (widen(x).permute(1, 2, 0, 3) for x in (q_SBND, k_TBGD, v_TBGD))
    scores = q @ k.repeat_interleave(groups, 1).transpose(-1, -2) / q.size(-1) ** 0.5
    own = documents_BT[:, offset : offset + q.size(2), None] == documents_BT[:, None]
    weights = scores.masked_fill(~own.tril(offset)[:, None], float("-inf")).softmax(-1)
    return (weights @ v.repeat_interleave(groups, 1)).permute(2, 0, 1, 3).to(q_SBND.dtype)


def cross_entropy(logits: Tensor, targets: Tensor, vocab_size: int) -> Tensor:
    """-log softmax(logits[..., :vocab_size])[target] for each position, in at least fp32; later columns are padding."""
    wide = widen(logits[..., :vocab_size])
    return wide.logsumexp(-1) - wide.gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def adamw_(params: list[Tensor], grads: list[Tensor], means: list[Tensor], squares: list[Tensor], *, step: int, lr: float,
           betas: tuple[float, float], eps: float, weight_decay: float) -> None:  # fmt: skip
    """One AdamW update in place, decay decoupled (Loshchilov & Hutter 2019); `step` counts from 1."""
    for param, grad, mean, square in zip(params, grads, means, squares):
        mean.lerp_(grad, 1 - betas[0])
        square.mul_(betas[1]).addcmul_(grad, grad, value=1 - betas[1])
        denominator = (square / (1 - betas[1] ** step)).sqrt_().add_(eps)
        param.mul_(1 - lr * weight_decay).addcdiv_(mean, denominator, value=-lr / (1 - betas[0] ** step))


def adamw_flat_(param: Tensor, grad: Tensor, mean: Tensor, square: Tensor, copy: Tensor | None, scale: Tensor, *, step: int, lr: float,
                betas: tuple[float, float], eps: float, weight_decay: float) -> None:  # fmt: skip
    """`adamw_` of flat buffers with the gradient times `scale`, a scalar tensor; `copy`, if any, gets the parameter rounded."""
    scaled = widen(grad) * scale
    adamw_([param], [scaled], [mean], [square], step=step, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
    if copy is not None:
        copy.copy_(param)


def sum_of_squares(x: Tensor) -> Tensor:
    """Σ x² in at least fp32; the gradient norm is the root of the sum of it over parameters and ranks."""
    return widen(x).square().sum()
