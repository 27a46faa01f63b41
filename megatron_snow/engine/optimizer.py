"""AdamW under megatron-core's optimizers, which keep the fp32 masters, shard the state (ZeRO-1) and clip.

The step counter lives in the parameter group, as in apex's FusedAdam. torch's own AdamW keeps one a parameter; behind
megatron-core's distributed optimizer these become one shared tensor after a resume, and every step then counts once
for each parameter: 81 instead of 6, without an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import _get_param_groups_and_buffers
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
from megatron.core.optimizer.optimizer import Float16OptimizerWithFloat16Params, FP32Optimizer, MegatronOptimizer
from megatron.core.optimizer.optimizer_config import OptimizerConfig
from torch import Tensor

from megatron_snow.config import Optimizer
from megatron_snow.engine.groups import Groups
from megatron_snow.kernels import adamw_


class AdamW(torch.optim.AdamW):
    """Decoupled weight decay; state a parameter: exp_avg, exp_avg_sq (fp32); group["step"]: updates done.

    A subclass of torch's because megatron-core's distributed optimizer accepts no other class without apex.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        self.allocate_state()
        for group in self.param_groups:
            group["step"] = group.get("step", 0) + 1
            params = [param for param in group["params"] if param.grad is not None]
            adamw_(
                params,
                [param.grad for param in params],
                [self.state[param]["exp_avg"] for param in params],
                [self.state[param]["exp_avg_sq"] for param in params],
                step=group["step"],
                lr=group["lr"],
                betas=group["betas"],
                eps=group["eps"],
                weight_decay=group["weight_decay"],
            )

    def allocate_state(self) -> None:
        """Zero moments for each parameter that has none yet."""
        for group in self.param_groups:
            for param in group["params"]:
                if not self.state[param]:
                    self.state[param]["exp_avg"] = torch.zeros_like(param, dtype=torch.float32)
                    self.state[param]["exp_avg_sq"] = torch.zeros_like(param, dtype=torch.float32)

    def reset(self) -> None:
        """Forget all moments and counts, as if no step had been done."""
        self.state.clear()
        for group in self.param_groups:
            group["step"] = 0


def build_optimizer(chunks: list[DistributedDataParallel], settings: Optimizer, groups: Groups, *, bf16: bool) -> MegatronOptimizer:
    """AdamW wrapped for the precision and for ZeRO-1, if the chunks' gradient buffers were built for it.

    Norm weights (one dimension) are not decayed.
    """
    config = OptimizerConfig(
        optimizer="adam", lr=0.0, bf16=bf16, clip_grad=settings.clip_grad,
        use_distributed_optimizer=chunks[0].ddp_config.use_distributed_optimizer,
        overlap_param_gather=chunks[0].ddp_config.overlap_param_gather,
    )  # fmt: skip
    param_groups, buffers = _get_param_groups_and_buffers(chunks, 0, config, None, lambda group: True, "buffers")
    for group in param_groups:
        group["weight_decay"] = settings.weight_decay * group["wd_mult"]
        group["step"] = 0
    inner = AdamW(param_groups, lr=0.0, betas=(settings.beta1, settings.beta2), eps=settings.eps)
    wrapped: MegatronOptimizer
    if config.use_distributed_optimizer:
        wrapped = DistributedOptimizer(
            inner, config, None, None, model_chunks=chunks, per_model_buffers=buffers, data_parallel_group=groups.data_and_context,
            data_parallel_group_gloo=None, data_parallel_group_idx=0, distributed_optimizer_instance_id=0,
        )  # fmt: skip
        wrapped.grad_stats_parallel_group = groups.all.intra_dist_opt
    else:
        wrapped = Float16OptimizerWithFloat16Params(inner, config, None, None) if bf16 else FP32Optimizer(inner, config, None)
        wrapped.grad_stats_parallel_group = groups.all.mp
    wrapped.tp_group = groups.tensor
    return wrapped


def owned_shards(optimizer: MegatronOptimizer) -> Iterator[tuple[Tensor, Tensor, slice]]:
    """(model parameter, fp32 master that the optimizer updates, the flat range of the parameter that the master holds).

    Without ZeRO-1 the range is the whole parameter; in fp32 the master is the parameter itself.
    """
    if isinstance(optimizer, DistributedOptimizer):
        for model_groups, master_groups in (
            (optimizer.model_fp32_groups, optimizer.shard_fp32_groups),
            (optimizer.model_float16_groups, optimizer.shard_fp32_from_float16_groups),
        ):
            for params, masters in zip(model_groups, master_groups):
                for param, master in zip(params, masters):
                    held = optimizer._get_model_param_range_map(param)["param"]
                    yield param, master, slice(held.start, held.end)
    elif isinstance(optimizer, Float16OptimizerWithFloat16Params):
        for params, masters in zip(optimizer.float16_groups, optimizer.fp32_from_float16_groups):
            for param, master in zip(params, masters):
                yield param, master, slice(0, param.numel())
    else:
        for param in optimizer.get_parameters():
            yield param, param, slice(0, param.numel())
