"""Ops on torch's own fused implementations, where these are exact."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def attention(q_SBND: Tensor, k_TBGD: Tensor, v_TBGD: Tensor, offset: int = 0) -> Tensor:
    """`reference.attention` without the [S, T] scores in memory. Where the queries do not start at key 0, by a mask."""
    q, k, v = (x.permute(1, 2, 0, 3) for x in (q_SBND, k_TBGD, v_TBGD))
    grouped = q.size(1) != k.size(1)
    square = offset == 0 and q.size(2) == k.size(2)
    mask = None if square else torch.ones(q.size(2), k.size(2), dtype=torch.bool, device=q.device).tril(offset)
    out = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=square, enable_gqa=grouped)
    return out.permute(2, 0, 1, 3)


def adamw_(params: list[Tensor], grads: list[Tensor], means: list[Tensor], squares: list[Tensor], *, step: int, lr: float,
           betas: tuple[float, float], eps: float, weight_decay: float) -> None:  # fmt: skip
    """`reference.adamw_` in one pass over memory a parameter."""
    if params:
        steps = [torch.tensor(float(step), device=params[0].device)] * len(params)
        torch._fused_adamw_(
            params, grads, means, squares, [], steps, lr=lr, beta1=betas[0], beta2=betas[1], weight_decay=weight_decay, eps=eps,
            amsgrad=False, maximize=False,
        )  # fmt: skip
