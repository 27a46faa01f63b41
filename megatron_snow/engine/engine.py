"""The engine: trains, evaluates, saves and loads one model on however many processes there are."""

from __future__ import annotations

import itertools
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
from megatron_snow.engine.device import prepare_device
from megatron_snow.engine.groups import Groups, build_groups, join_processes, leave_processes
from megatron_snow.engine.optimizer import build_optimizer
from megatron_snow.engine.schedules import MicroBatch, forward_backward, prepare_schedule
from megatron_snow.engine.sharded import Whole, load_sharded, save_sharded


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

    def __init__(self, recipe: Recipe, build_model: Callable[[Groups], MegatronModule]) -> None:
        """Join the processes, build the groups, the model of `build_model(groups)` and the optimizer."""
        self.recipe = recipe
        self._device = prepare_device()
        self._joined_here = join_processes(self._device)
        self._groups = build_groups(recipe.parallel, recipe.seed)
        stage = build_model(self._groups).to(self._device)
        prepare_schedule(stage.config, self._device)
        buffers = DistributedDataParallelConfig(grad_reduce_in_fp32=True, use_distributed_optimizer=recipe.parallel.distributed_optimizer)
        self._model = DistributedDataParallel(stage.config, buffers, stage, pg_collection=self._groups.all)
        self._optimizer = build_optimizer(self._model, recipe.training.optimizer, self._groups, bf16=recipe.training.precision == "bf16")

        self._whole = Whole(stage, self._optimizer, self._groups)

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
            for parameter in self._model.parameters()
            if not getattr(parameter, "shared", False)
            and (getattr(parameter, "tensor_model_parallel", False) or self._groups.tensor.rank() == 0)
        )
        total = torch.tensor(own, dtype=torch.int64, device=self._device)
        dist.all_reduce(total, group=self._groups.all.mp)
        return int(total)

    def train_step(self, tokens: Tensor, learning_rate: float, mask: Tensor | None = None) -> StepResult:
        """One update on the global batch of which `tokens`, int64 [n_local, seq + 1], is this data-parallel rank's part.

        mask bool [n_local, seq]: the targets that count, of which the loss is the mean over all ranks; None: all.
        FloatingPointError, with the weights as they were, when the loss or the gradient is not finite.
        """
        rows = self.recipe.training.micro_batch_size
        if tokens.size(0) % rows:
            raise ValueError(f"{tokens.size(0)} sequences of a rank are not a multiple of training.micro_batch_size {rows}")
        self._model.zero_grad_buffer()
        self._optimizer.zero_grad()
        masks = mask.split(rows) if mask is not None else itertools.repeat(None)
        batches: list[MicroBatch] = [(part[:, :-1], part[:, 1:], kept) for part, kept in zip(tokens.split(rows), masks)]
        loss_sum, count = forward_backward(self._model, batches, self._groups)
        loss = loss_sum / count  # the same on all ranks, so all refuse a bad step or none
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

    @torch.no_grad()
    def evaluate(self, tokens: Tensor, mask: Tensor) -> tuple[float, int]:
        """(sum of the loss in nats, tokens) of the targets where `mask` is true, over all data-parallel ranks.

        tokens int64 [n, seq + 1], mask bool [n, seq]: this data-parallel rank's part. Ranks may differ in n, 0 included.
        """
        count = tokens.size(0)
        parts = -(-count // self.recipe.training.micro_batch_size)
        rows = -(-count // parts) if parts else 0
        missing = parts * rows - count  # a pipeline needs parts of one shape: fill up with sequences that do not count
        if missing:
            tokens = torch.cat((tokens, tokens[:1].expand(missing, -1)))
            mask = torch.cat((mask, torch.zeros_like(mask[:1]).expand(missing, -1)))
        batches: list[MicroBatch] = [
            (part[:, :-1], part[:, 1:], kept) for part, kept in zip(tokens.split(rows or 1), mask.split(rows or 1)) if len(part)
        ]
        return forward_backward(self._model, batches, self._groups, forward_only=True)

    def save(self, folder: Path) -> None:
        """Write model and optimizer to `folder` (torch_dist), which any layout can load."""
        save_sharded(folder, self._whole, self.recipe)

    def load(self, folder: Path, optimizer: bool = True) -> None:
        """Read what `save` or `write_model` wrote in any layout; without `optimizer` its state is reset."""
        load_sharded(folder, self._whole, self.recipe, with_optimizer=optimizer)
        if not optimizer:
            self.reset_optimizer()

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

    def close(self) -> None:
        """Leave the process groups."""
        leave_processes(self._joined_here)
