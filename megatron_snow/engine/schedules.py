"""Forward and backward over the micro-batches of a rank, on megatron-core's schedules.

Settings that keep the schedules right where megatron-core's own check is missing (tests/engine/test_guards.py shows what
they prevent): on gloo the output of a pipeline stage is not freed after it was sent, as the send may still be reading it;
interleaved stages never send in batches, for between two ranks the messages of a batch are mistaken for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from megatron.core.distributed import DistributedDataParallel, finalize_model_grads
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.transformer import TransformerConfig
from torch import Tensor

from megatron_snow.engine.context import zigzag_positions
from megatron_snow.engine.groups import Groups


class MicroBatch(NamedTuple):
    """What goes through the pipeline at once; every stage has its own copy."""

    inputs: Tensor  # int64 [b, s]
    targets: Tensor  # int64 [b, s]
    mask: Tensor | None  # bool [b, s]: the targets that count; None: all
    documents: Tensor | None  # int [b, s]: the number of the document of each input; None: one a row
    kinds: Tensor | None  # int64 [b, s]: of each target, whose losses are summed by kind; None: all are of kind 0


def split_batch(tokens: Tensor, mask: Tensor | None, documents: Tensor | None, rows: int, kinds: Tensor | None = None) -> list[MicroBatch]:
    """Micro-batches of `rows` sequences of tokens int64 [n, s + 1], mask bool [n, s], documents int [n, s] and kinds int64 [n, s]."""
    parts = []
    for start in range(0, tokens.size(0), rows):
        part = slice(start, start + rows)
        kept, numbers, sorts = (None if tensor is None else tensor[part] for tensor in (mask, documents, kinds))
        parts.append(MicroBatch(tokens[part, :-1], tokens[part, 1:], kept, numbers, sorts))
    return parts


def prepare_schedule(config: TransformerConfig, device: torch.device) -> None:
    """Set what the schedules read from the configuration of a chunk of the model."""
    config.finalize_model_grads_func = finalize_model_grads
    config.calculate_per_token_loss = True  # gradients are divided by the tokens of the global batch, once, at the end
    config.deallocate_pipeline_outputs = device.type == "cuda"
    config.batch_p2p_sync = device.type == "cuda"
    config.overlap_p2p_comm = config.virtual_pipeline_model_parallel_size is not None
    config.batch_p2p_comm = not config.overlap_p2p_comm


def overlap_gradients(chunks: Sequence[DistributedDataParallel]) -> None:
    """Let gradients travel during the last micro-batch's backward pass; before that they only add up."""
    stops = [chunk.no_sync for chunk in chunks]
    chunks[0].config.no_sync_func = stops if len(stops) > 1 else stops[0]


def forward_backward(
    chunks: list[DistributedDataParallel], micro_batches: list[MicroBatch], groups: Groups, *, forward_only: bool = False
) -> tuple[float, int]:
    """Run the micro-batches of this rank; (sum of the loss, tokens) over all data-parallel ranks, equal on all ranks.

    Unless `forward_only`, afterwards each parameter's main gradient is that of the loss's mean over the global batch.
    """
    sums = run_micro_batches(chunks, micro_batches, groups, 1, forward_only=forward_only)
    loss_sum, tokens = sums[0].tolist()
    return loss_sum, round(tokens)


def run_micro_batches(
    chunks: list[DistributedDataParallel], micro_batches: list[MicroBatch], groups: Groups, kinds: int, *, forward_only: bool = False
) -> Tensor:
    """`forward_backward` by kind of target: float64 [kinds, 2] of the sum of the loss and the tokens, on the model's device."""
    sums = torch.zeros(kinds, 2, dtype=torch.float64, device=next(chunks[0].parameters()).device)
    if micro_batches:
        rows, length = micro_batches[0].inputs.shape
        get_forward_backward_func()(
            forward_step_func=_forward_step(groups, sums),
            data_iterator=[iter(micro_batches) for _ in chunks] if len(chunks) > 1 else iter(micro_batches),
            model=chunks,
            num_microbatches=len(micro_batches),
            seq_length=length,
            micro_batch_size=rows,
            forward_only=forward_only,
        )
    dist.all_reduce(sums, group=groups.data_and_context)
    dist.all_reduce(sums, group=groups.pipeline)  # only the last stage knows them, the others add zeros
    return sums


def _forward_step(groups: Groups, sums: Tensor) -> Callable[..., Any]:
    def forward_step(batches: Iterator[MicroBatch], model: DistributedDataParallel) -> tuple[Tensor, Callable[[Tensor], Any]]:
        batch = next(batches)
        inputs, targets, mask, kinds = (_of_this_rank(tensor, groups, sums.device) for tensor in (*batch[:3], batch.kinds))
        documents = None if batch.documents is None else batch.documents.to(sums.device)  # whole: attention looks at all keys

        def loss_of(losses: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
            total = losses.sum() if mask is None else losses.masked_fill(~mask, 0.0).sum()
            tokens = torch.tensor(losses.numel(), dtype=torch.int, device=sums.device) if mask is None else mask.sum().int()
            if kinds is None:
                sums[0].add_(torch.stack((total.detach().double(), tokens.double())))
            else:
                _add_by_kind(sums, losses, mask, kinds)
            return total, tokens, {}

        return model(inputs, None, documents, labels=targets), loss_of

    return forward_step


def _add_by_kind(sums: Tensor, losses: Tensor, mask: Tensor | None, kinds: Tensor) -> None:
    """Add the losses [b, s] that count, and their number, to the row of `sums` [kinds, 2] of each target's kind."""
    counts = torch.ones_like(losses, dtype=sums.dtype) if mask is None else mask.to(sums.dtype)
    values = torch.stack((torch.where(counts > 0, losses.detach().to(sums.dtype), 0.0), counts), dim=-1)
    sums.index_add_(0, kinds.flatten(), values.flatten(0, 1))


def _of_this_rank(tensor: Tensor | None, groups: Groups, device: torch.device) -> Tensor | None:
    """The positions of [b, s] that this context-parallel rank holds, on its device."""
    if tensor is None:
        return None
    if groups.context.size() > 1:
        tensor = tensor[:, zigzag_positions(tensor.size(1), groups.context.rank(), groups.context.size())]
    return tensor.to(device).contiguous()
