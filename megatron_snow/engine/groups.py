"""Process groups: who shares what with whom.

torchrun's environment (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT) says who takes part; without it there is one
process. Ranks are laid out tensor first, then context, data and pipeline (megatron-core's 'tp-cp-ep-dp-pp'), so that
the groups that talk most are neighbours.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from megatron.core import parallel_state, tensor_parallel
from megatron.core.process_groups_config import ProcessGroupCollection

from megatron_snow.common.errors import UserError
from megatron_snow.common.network import address_towards, interface_of
from megatron_snow.config import Parallel
from megatron_snow.config.weights import check_vocabulary_split

_TIMEOUT = timedelta(minutes=30)  # a save of a large model keeps the others waiting


@dataclass(frozen=True)
class Groups:
    """The groups of this rank; `all` is the form in which megatron-core takes them."""

    all: ProcessGroupCollection
    tensor: dist.ProcessGroup
    context: dist.ProcessGroup
    pipeline: dist.ProcessGroup
    data: dist.ProcessGroup
    data_and_context: dist.ProcessGroup  # ranks that hold the same weights
    chunks: int = 1  # virtual stages of each rank: chunk c of rank r is stage c · pipeline.size() + r of the model

    def is_first(self, chunk: int) -> bool:
        """Whether a chunk of this rank holds the embedding."""
        return chunk == 0 and self.pipeline.rank() == 0

    def is_last(self, chunk: int) -> bool:
        """Whether a chunk of this rank holds the last norm and the output layer."""
        return chunk == self.chunks - 1 and self.pipeline.rank() == self.pipeline.size() - 1


def join_processes(device: torch.device, *, alone: bool = False) -> bool:
    """Join the process group that torchrun describes, or one of this process alone; False if it had been joined before.

    `alone` is for tools that work on one process also inside a cluster's job, whose environment names many.
    """
    if dist.is_initialized():
        return False
    backend = "nccl" if device.type == "cuda" else "gloo"
    if "WORLD_SIZE" in os.environ and not alone:
        if backend == "gloo" and int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1:
            _choose_interface()
        dist.init_process_group(backend, timeout=_TIMEOUT)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    return True


def _choose_interface() -> None:
    """Have gloo use the interface towards the first machine: by itself it takes that of the machine's own name, often the loopback."""
    if "GLOO_SOCKET_IFNAME" not in os.environ:
        address = address_towards(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
        if name := interface_of(address):
            os.environ["GLOO_SOCKET_IFNAME"] = name


def build_groups(parallel: Parallel, seed: int) -> Groups:
    """Split the processes into the recipe's parallel groups; UserError when their number does not fit."""
    world, product = dist.get_world_size(), parallel.tensor * parallel.pipeline * parallel.context
    if world % product:
        raise UserError(
            f"parallel: tensor x pipeline x context = {product} does not divide the {world} processes that run; "
            f"start a multiple of {product}"
        )
    check_vocabulary_split(parallel.tensor)
    if parallel_state.model_parallel_is_initialized():
        parallel_state.destroy_model_parallel()
    parallel_state.initialize_model_parallel(
        parallel.tensor,
        parallel.pipeline,
        virtual_pipeline_model_parallel_size=parallel.virtual_pipeline if parallel.virtual_pipeline > 1 else None,
        context_parallel_size=parallel.context,
        create_gloo_process_groups=False,
    )
    # Nothing draws from these states while dropout is 0, but megatron-core's layers expect them to exist.
    tensor_parallel.model_parallel_cuda_manual_seed(seed, force_reset_rng=True)
    collection = ProcessGroupCollection.use_mpu_process_groups()
    return Groups(collection, collection.tp, collection.cp, collection.pp, collection.dp, collection.dp_cp, parallel.virtual_pipeline)


def leave_processes(joined_here: bool) -> None:
    """Undo `build_groups` and, if this engine joined it, the process group."""
    parallel_state.destroy_model_parallel()
    if joined_here:
        dist.destroy_process_group()
