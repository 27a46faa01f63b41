"""The engine: trains, evaluates, saves and loads one model on however many processes there are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
from megatron.core.optimizer.clip_grads import clip_grad_by_total_norm_fp32
from megatron.core.transformer.module import MegatronModule
from torch import Tensor

from megatron_snow.config import Recipe
from megatron_snow.engine.common_state import CommonState
from megatron_snow.engine.device import be_deterministic, prepare_device
from megatron_snow.engine.groups import Groups, build_groups, join_processes, leave_processes
from megatron_snow.engine.optimizer import build_optimizer
from megatron_snow.engine.saving import Save, Snapshots
from megatron_snow.engine.schedules import forward_backward, overlap_gradients, prepare_schedule, run_micro_batches, split_batch
from megatron_snow.engine.sharded import Whole, load_sharded, to_save


@dataclass(frozen=True)
class StepResult:
    """What a step reports, equal on all ranks."""

    loss: float  # mean over the tokens of the global batch that count, nats, before the update
    grad_norm: float  # global norm of the gradient of that mean, before clipping


class Engine:
    """One rank's part of a model in training.

    The processes are those of torchrun's environment, or this one alone. Every method but the properties is called by
    all ranks together. Call `close` at the end.
    """

    def __init__(self, recipe: Recipe, build_model: Callable[[Groups, int], MegatronModule], *, overlap: bool | None = None) -> None:
        """Join the processes, build the groups, the model's chunks, each of `build_model(groups, chunk)`, and the optimizer.

        overlap: whether data-parallel communication goes on while gradients are computed; None: as the recipe says on NCCL, never
        on gloo, whose threads would take the cores from the model.
        """
        self.recipe = recipe
        self._device = prepare_device()
        be_deterministic(recipe.training.deterministic)
        self._joined_here = join_processes(self._device)
        self._groups = build_groups(recipe.parallel, recipe.seed)
        overlap = recipe.parallel.overlap and self._device.type == "cuda" if overlap is None else overlap
        stages = [build_model(self._groups, chunk).to(self._device) for chunk in range(self._groups.chunks)]
        self._chunks = [self._data_parallel(stage, number, overlap) for number, stage in enumerate(stages)]
        if overlap:
            overlap_gradients(self._chunks)
        self._optimizer = build_optimizer(self._chunks, recipe.training.optimizer, self._groups, bf16=recipe.training.precision == "bf16")
        self._whole = Whole(stages, self._optimizer, self._groups)
        self._snapshots = Snapshots()

    def _data_parallel(self, stage: MegatronModule, number: int, overlap: bool) -> DistributedDataParallel:
        prepare_schedule(stage.config, self._device)
        sharded = self.recipe.parallel.distributed_optimizer
        buffers = DistributedDataParallelConfig(
            grad_reduce_in_fp32=True,
            use_distributed_optimizer=sharded,
            overlap_grad_reduce=overlap,
            overlap_param_gather=overlap and sharded,
        )
        return DistributedDataParallel(stage.config, buffers, stage, disable_bucketing=number > 0, pg_collection=self._groups.all)

    @property
    def rank(self) -> int:
        return dist.get_rank()

    @property
    def world_size(self) -> int:
        return dist.get_world_size()

    @property
    def data_rank(self) -> int:
        """Which part of the global batch this rank reads; ranks of one model copy have the same."""
        return self._groups.data.rank()

    @property
    def data_size(self) -> int:
        return self._groups.data.size()

    @property
    def is_main(self) -> bool:
        """True on exactly one rank: the one that logs."""
        return self.rank == 0

    @property
    def parameter_count(self) -> int:
        """Parameters of the whole model; tied ones once, rows of vocabulary padding included."""
        own = sum(
            parameter.numel()
            for chunk in self._chunks
            for parameter in chunk.parameters()
            if not getattr(parameter, "shared", False)
            and (getattr(parameter, "tensor_model_parallel", False) or self._groups.tensor.rank() == 0)
        )
        total = torch.tensor(own, dtype=torch.int64, device=self._device)
        dist.all_reduce(total, group=self._groups.all.mp)
        return int(total)

    def train_step(self, tokens: Tensor, learning_rate: float, mask: Tensor | None = None, documents: Tensor | None = None) -> StepResult:
        """One update on the global batch of which `tokens`, int64 [n_local, seq + 1], is this data-parallel rank's part.

        mask bool [n_local, seq]: the targets that count, of which the loss is the mean over all ranks; None: all.
        documents int [n_local, seq]: numbers of the inputs' documents, for training.document_attention and reset_positions.
        FloatingPointError, with the weights as they were, when the loss or the gradient is not finite.
        """
        rows = self.recipe.training.micro_batch_size
        if tokens.size(0) % rows:
            raise ValueError(f"{tokens.size(0)} sequences of a rank are not a multiple of training.micro_batch_size {rows}")
        if self.recipe.training.uses_documents and documents is None:
            raise ValueError("training.document_attention and reset_positions need the numbers of the documents")
        for chunk in self._chunks:
            chunk.zero_grad_buffer()
        self._optimizer.zero_grad()
        loss_sum, count = forward_backward(self._chunks, split_batch(tokens, mask, documents, rows), self._groups)
        loss = loss_sum / count if count else math.nan  # the same on all ranks, so all refuse a bad step or none
        grad_norm = self._update(learning_rate) if math.isfinite(loss) else None
        if grad_norm is None:
            raise FloatingPointError(f"loss {loss}: loss or gradient is not finite; the weights are as before this step")
        return StepResult(loss, grad_norm)

    def _update(self, learning_rate: float) -> float | None:
        """Clip and step; the norm before clipping, or None without a step when it is not finite."""
        optimizer, clip = self._optimizer, self.recipe.training.optimizer.clip_grad
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.prepare_grads()
        norm = float(optimizer.get_grad_norm())
        if not math.isfinite(norm):
            return None
        if clip > 0:
            clip_grad_by_total_norm_fp32(optimizer.get_parameters(), clip, norm)
        optimizer.step_with_ready_grads()
        return norm

    def evaluate(self, tokens: Tensor, mask: Tensor, documents: Tensor | None = None) -> tuple[float, int]:
        """(sum of the loss in nats, tokens) of the targets where `mask` is true, over all data-parallel ranks.

        tokens int64 [n, seq + 1], mask bool [n, seq], documents int [n, seq] as in `train_step`: this data-parallel rank's part.
        Ranks may differ in n, 0 included.
        """
        return self.evaluate_by_kind(tokens, mask, None, 1, documents)[0]

    @torch.no_grad()
    def evaluate_by_kind(
        self, tokens: Tensor, mask: Tensor, kinds: Tensor | None, num_kinds: int, documents: Tensor | None = None
    ) -> list[tuple[float, int]]:
        """`evaluate` in one pass for the targets of each kind: kinds int64 [n, seq] in 0 to num_kinds - 1; None: all of kind 0."""
        count = tokens.size(0)
        parts = -(-count // self.recipe.training.micro_batch_size)
        if self._groups.chunks > 1:  # the interleaved schedule goes round in groups of as many micro-batches as stages
            parts = -(-parts // self._groups.pipeline.size()) * self._groups.pipeline.size()
        rows = -(-count // parts) if parts else 0
        missing = parts * rows - count  # a pipeline needs parts of one shape: fill up with sequences that do not count
        if missing:
            tokens = torch.cat((tokens, tokens[:1].expand(missing, -1)))
            documents = None if documents is None else torch.cat((documents, documents[:1].expand(missing, -1)))
            kinds = None if kinds is None else torch.cat((kinds, kinds[:1].expand(missing, -1)))
            mask = torch.cat((mask, torch.zeros_like(mask[:1]).expand(missing, -1)))
        batches = split_batch(tokens, mask, documents, rows or 1, kinds)
        sums = run_micro_batches(self._chunks, batches, self._groups, num_kinds, forward_only=True)
        return [(loss_sum, round(count)) for loss_sum, count in sums.tolist()]

    def save(self, folder: Path) -> None:
        """Write model and optimizer to `folder` (torch_dist), which any layout can load. OSError on all ranks where one cannot write."""
        save = self.begin_save(folder)
        save.write()
        save.finish()

    def begin_save(self, folder: Path, *, copy: bool = False) -> Save:
        """A save of what is there now, each rank's part to be written by `Save.write`; the main rank makes `folder` with its parents.

        copy: write a copy in CPU memory, so that training can go on meanwhile; it is valid until the next such save.
        """
        self._wait_for_weights()
        if self.is_main:
            folder.mkdir(parents=True, exist_ok=True)
        tensors = to_save(self._whole)
        model, vocab_size = self.recipe.model, self.recipe.tokenizer.vocab_size
        common = CommonState.of(model, vocab_size, self._optimizer.param_groups[0]["step"])
        self.barrier()  # the folder is there
        return Save(folder, self._snapshots.take(tensors) if copy else tensors, common)

    def load(self, folder: Path, optimizer: bool = True) -> None:
        """Read what `save` or `write_model` wrote in any layout; without `optimizer` its state is reset."""
        self._wait_for_weights()
        load_sharded(folder, self._whole, self.recipe, with_optimizer=optimizer)
        if not optimizer:
            self.reset_optimizer()

    def _wait_for_weights(self) -> None:
        """With overlap, ZeRO-1 gathers the weights of a step in the next one's forward pass: do it now."""
        for chunk in self._chunks:
            if chunk.ddp_config.overlap_param_gather:
                chunk.start_param_sync(force_sync=True)

    def reset_optimizer(self) -> None:
        """Forget moments and step counts; in bf16 the fp32 masters stay."""
        self._optimizer.optimizer.reset()

    def barrier(self) -> None:
        """Wait for all ranks."""
        dist.barrier()

    def broadcast(self, value: Any) -> Any:
        """The main rank's `value`, on all ranks."""
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def any_rank(self, value: bool) -> bool:
        """Whether `value` is true on any rank: the same answer on all."""
        flag = torch.tensor(int(value), device=self._device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag)

    def close(self) -> None:
        """Leave the process groups."""
        leave_processes(self._joined_here)
