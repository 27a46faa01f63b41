"""Causal attention within documents that lie end to end in a sample: by a mask, or by flash-attn on their lengths."""

from __future__ import annotations

import importlib.util
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


@lru_cache(maxsize=2)  # every layer asks for the same one
def _mask(documents_BT: Tensor, queries: int, offset: int) -> Tensor:
    """bool [B, 1, queries, T]: which keys a query may see."""
    own = documents_BT[:, offset : offset + queries, None] == documents_BT[:, None]
    return own.tril(offset)[:, None]


def attention(q_SBND: Tensor, k_TBGD: Tensor, v_TBGD: Tensor, documents_BT: Tensor, offset: int = 0) -> Tensor:
    """`reference.document_attention` without the [S, T] scores in memory; a mask of a byte an entry is."""
    q, k, v = (x.permute(1, 2, 0, 3) for x in (q_SBND, k_TBGD, v_TBGD))
    mask = _mask(documents_BT, q.size(2), offset)
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=q.size(1) != k.size(1)).permute(2, 0, 1, 3)


def missing_flash_attention() -> str:
    """Why flash-attn cannot run here, or ""."""
    if not torch.cuda.is_available():
        return "no GPU"
    return "" if importlib.util.find_spec("flash_attn") else "the package flash-attn is not installed"


@lru_cache(maxsize=2)
def _borders(documents_BT: Tensor) -> tuple[Tensor, int]:
    """(int32: where documents begin in the rows laid end to end, and the end; length of the longest)."""
    begins = torch.ones_like(documents_BT, dtype=torch.bool)
    begins[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
    places = begins.flatten().nonzero()[:, 0]
    borders = torch.cat((places, places.new_tensor([documents_BT.numel()]))).int()
    return borders, int(borders.diff().max())


def flash_attention(q_SBND: Tensor, k_TBGD: Tensor, v_TBGD: Tensor, documents_BT: Tensor, offset: int = 0) -> Tensor:
    """`reference.document_attention` by flash-attn, which never looks at another document; not run on a GPU yet.

    fp32, and queries that do not start at key 0 (context parallelism), go by the mask.
    """
    if q_SBND.dtype == torch.float32 or q_SBND.size(0) != k_TBGD.size(0):
        return attention(q_SBND, k_TBGD, v_TBGD, documents_BT, offset)
    from flash_attn import flash_attn_varlen_func

    borders, longest = _borders(documents_BT)
    flat = (x.transpose(0, 1).flatten(0, 1) for x in (q_SBND, k_TBGD, v_TBGD))
    out: Tensor = flash_attn_varlen_func(*flat, borders, borders, longest, longest, causal=True)
    return out.unflatten(0, documents_BT.shape).transpose(0, 1)
