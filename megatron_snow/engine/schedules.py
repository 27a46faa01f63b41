"""Forward and backward over the micro-batches of a rank, on megatron-core's schedules.

Settings that keep the schedules right where megatron-core's own check is missing: outputs of a pipeline stage are not
freed after sending on gloo (the send may still be reading them: losses become wrong, differently each run), and no
interleaved (virtual) stages are offered (with two stages and batched sends, two messages of the same pair mismatch
silently).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from megatron.core.distributed import DistributedDataParallel, finalize_model_grads
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.transformer import TransformerConfig
from torch import Tensor

from megatron_snow.engine.context import zigzag_positions
from megatron_snow.engine.groups import Groups

MicroBatch = tuple[Tensor, Tensor, Tensor | None]  # inputs int64 [b, s], targets int64 [b, s], mask bool [b, s] or None: all count


def prepare_schedule(config: TransformerConfig, device: torch.device) -> None:
    """Set what the schedules read from the model's configuration."""
    config.finalize_model_grads_func = finalize_model_grads
    config.calculate_per_token_loss = True  # gradients are divided by the tokens of the global batch, once, at the end
    config.deallocate_pipeline_outputs = device.type == "cuda"
    config.batch_p2p_sync = device.type == "cuda"


def forward_backward(
    model: DistributedDataParallel, micro_batches: list[MicroBatch], groups: Groups, *, forward_only: bool = False
) -> tuple[float, int]:
    """Run the micro-batches of this rank; (sum of the loss, tokens) over all data-parallel ranks, equal on all ranks.

    Unless `forward_only`, afterwards each parameter's main gradient is that of the loss's mean over the global batch.
    """
    sums = torch.zeros(2, dtype=torch.float64, device=next(model.parameters()).device)
    if micro_batches:
        rows, length = micro_batches[0][0].shape
        get_forward_backward_func()(
            forward_step_func=_forward_step(groups, sums),
            data_iterator=iter(micro_batches),
            model=[model],
            num_microbatches=len(micro_batches),
            seq_length=length,
            micro_batch_size=rows,
            forward_only=forward_only,
        )
    dist.all_reduce(sums, group=groups.data_and_context)
    dist.all_reduce(sums, group=groups.pipeline)  # only the last stage knows them, the others add zeros
    loss_sum, tokens = sums.tolist()
    return loss_sum, round(tokens)


def _forward_step(groups: Groups, sums: Tensor) -> Callable[..., Any]:
    def forward_step(batches: Iterator[MicroBatch], model: DistributedDataParallel) -> tuple[Tensor, Callable[[Tensor], Any]]:
        inputs, targets, mask = (_of_this_rank(tensor, groups, sums.device) for tensor in next(batches))

        def loss_of(losses: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
            total = losses.sum() if mask is None else losses.masked_fill(~mask, 0.0).sum()
            tokens = torch.tensor(losses.numel(), dtype=torch.int, device=sums.device) if mask is None else mask.sum().int()
            sums.add_(torch.stack((total.detach().double(), tokens.double())))
            return total, tokens, {}

        return model(inputs, None, None, labels=targets), loss_of

    return forward_step


def _of_this_rank(tensor: Tensor | None, groups: Groups, device: torch.device) -> Tensor | None:
    """The positions of [b, s] that this context-parallel rank holds, on its device."""
    if tensor is None:
        return None
    if groups.context.size() > 1:
        tensor = tensor[:, zigzag_positions(tensor.size(1), groups.context.rank(), groups.context.size())]
    return tensor.to(device).contiguous()
