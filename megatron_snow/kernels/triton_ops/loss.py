"""The loss over a split vocabulary as torch.library ops, joined by an autograd function that talks to the other ranks."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.distributed import ProcessGroup, ReduceOp

from megatron_snow.kernels.triton_ops import cross_entropy
from megatron_snow.kernels.triton_ops.inputs import INTEGERS, check, side_by_side


@torch.library.custom_op("megatron_snow::cross_entropy_parts", mutates_args=())
def _cross_entropy_parts(logits_RV: Tensor, targets_R: Tensor, first: int, valid: int) -> tuple[Tensor, Tensor, Tensor]:
    check("logits", logits_RV)
    check("targets", targets_R, INTEGERS, (logits_RV.size(0),))
    top_R, total_R, target_R = (logits_RV.new_empty(logits_RV.size(0), dtype=torch.float32) for _ in range(3))
    cross_entropy.forward(side_by_side(logits_RV), targets_R.contiguous(), first, valid, top_R, total_R, target_R)
    return top_R, total_R, target_R


@_cross_entropy_parts.register_fake
def _(logits_RV: Tensor, targets_R: Tensor, first: int, valid: int) -> tuple[Tensor, Tensor, Tensor]:
    top_R, total_R, target_R = (logits_RV.new_empty(logits_RV.size(0), dtype=torch.float32) for _ in range(3))
    return top_R, total_R, target_R


@torch.library.custom_op("megatron_snow::cross_entropy_gradient_", mutates_args=("logits_RV",))
def _cross_entropy_gradient_(
    logits_RV: Tensor, targets_R: Tensor, first: int, valid: int, top_R: Tensor, total_R: Tensor, grad_R: Tensor
) -> None:
    if logits_RV.stride(-1) != 1:
        raise ValueError(f"logits: strides {logits_RV.stride()}; accepted: 1 for the last dimension, as the gradient is written over them")
    cross_entropy.backward(logits_RV, targets_R.contiguous(), first, valid, top_R, total_R, grad_R.contiguous())


class _VocabParallelCrossEntropy(torch.autograd.Function):
    """Two all-reduces join the ranks, the maximum and [target's logit, sum of exp], as in Megatron-LM."""

    @staticmethod
    def forward(ctx: Any, logits_RV: Tensor, targets_R: Tensor, first: int, valid: int, group: ProcessGroup | None) -> Tensor:
        top_R, total_R, target_R = _cross_entropy_parts(logits_RV, targets_R, first, valid)
        if group is not None:
            own_R = top_R.clone()
            torch.distributed.all_reduce(top_R, op=ReduceOp.MAX, group=group)
            both = torch.stack((target_R, total_R * (own_R - top_R).exp()))
            torch.distributed.all_reduce(both, group=group)
            target_R, total_R = both
        ctx.save_for_backward(logits_RV, targets_R, top_R, total_R)
        ctx.first, ctx.valid = first, valid
        return total_R.log() - (target_R - top_R)  # not (log + top) - target: at large logits that would cancel

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        logits_RV, targets_R, top_R, total_R = ctx.saved_tensors
        _cross_entropy_gradient_(logits_RV, targets_R, ctx.first, ctx.valid, top_R, total_R, grads[0].float())
        return logits_RV, None, None, None, None


def vocab_parallel_cross_entropy(
    logits: Tensor, targets: Tensor, *, vocab_size: int, first: int = 0, group: ProcessGroup | None = None
) -> Tensor:
    """`cross_entropy.vocab_parallel_cross_entropy`; the logits are overwritten in the backward pass."""
    columns = logits.size(-1)
    valid = min(columns, max(0, vocab_size - first))
    loss: Tensor = _VocabParallelCrossEntropy.apply(side_by_side(logits).reshape(-1, columns), targets.reshape(-1), first, valid, group)
    return loss.view(targets.shape)
