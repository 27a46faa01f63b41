"""Checkpoints in megatron-core's torch_dist format, the same for every layout and either kind of optimizer.

    common.pt      step count of the optimizer, vocabulary, shape of the model
    .metadata      which file holds which part of which tensor
    __R_0.distcp   tensors that rank R wrote

A weight has its name ("decoder.layers.3.mlp.linear_fc1.weight"); AdamW's state of it is optimizer.state.{fp32_param,
exp_avg, exp_avg_sq}.NAME, in the weight's own shape, so that ZeRO-1 can be turned on or off between save and load.
Each rank writes its file itself: no writer process that could outlive it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as torch_checkpoint
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.core import CheckpointingException
from megatron.core.dist_checkpointing.mapping import ShardedObject, is_main_replica
from megatron.core.dist_checkpointing.optimizer import make_sharded_optimizer_tensor
from megatron.core.dist_checkpointing.strategies import torch as torch_dist
from megatron.core.dist_checkpointing.strategies.base import SaveShardedStrategy
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
from megatron.core.optimizer.optimizer import MegatronOptimizer
from megatron.core.transformer.module import MegatronModule
from torch import Tensor

from megatron_snow.common.errors import UserError
from megatron_snow.config import Recipe
from megatron_snow.engine.common_state import CommonState, read_common
from megatron_snow.engine.groups import Groups
from megatron_snow.engine.optimizer import owned_shards
from megatron_snow.engine.storage import MetadataReader, PlainWriter

STATE_PREFIX = "optimizer.state."
_STATES = ("fp32_param", "exp_avg", "exp_avg_sq")


class Whole(NamedTuple):
    """What a checkpoint is made of, as this rank has it."""

    chunks: list[MegatronModule]
    optimizer: MegatronOptimizer
    groups: Groups


def save_sharded(folder: Path, whole: Whole, recipe: Recipe) -> None:
    """Write the checkpoint; all ranks together. OSError (a full disk) on all ranks when one cannot write."""
    if dist.get_rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
    dist.barrier()
    weights = _weight_entries(whole)
    step = whole.optimizer.param_groups[0]["step"]
    state = {"model": weights, "optimizer": dict(_states_to_save(whole, weights))}
    state |= CommonState.of(recipe.model, recipe.tokenizer.vocab_size, step).as_dict()
    try:
        dist_checkpointing.save(state, str(folder), sharded_strategy=_InProcessSave("torch_dist", 1))
    except torch_checkpoint.CheckpointException as error:
        failures = [failure for failure, _trace in error.failures.values() if isinstance(failure, OSError)]
        raise (failures[0] if failures else error) from error


def load_sharded(folder: Path, whole: Whole, recipe: Recipe, *, with_optimizer: bool) -> None:
    """Read the weights and, if asked, AdamW's state; all ranks together. UserError when the model is another."""
    common = read_common(folder)
    common.check(folder, recipe.model, recipe.tokenizer.vocab_size)
    if with_optimizer and common.step is None:
        raise UserError(f"{folder}: holds weights alone; load it without the optimizer's state (phases.NAME.optimizer_state: reset)")
    weights = _weight_entries(whole)
    names = {id(entry.data): name for name, entry in weights.items()}  # before loading, which changes the entries
    request: dict[str, Any] = {"model": weights}
    if with_optimizer:
        request["optimizer"] = dict(_states_to_load(weights))
    reader = MetadataReader(folder)
    try:
        loaded = dist_checkpointing.load(request, str(folder), sharded_strategy=_GuardedLoad(reader))
    except (torch_checkpoint.CheckpointException, CheckpointingException) as error:
        raise UserError(f"{folder}: cannot be read: {' '.join(str(error).split())[-300:]}") from error
    for number, chunk in enumerate(whole.chunks):
        prefix = f"{number}."
        mine = {name.removeprefix(prefix): tensor for name, tensor in loaded["model"].items() if name.startswith(prefix)}
        chunk.load_state_dict(mine, strict=False)  # not strict: nothing is kept as "extra state"
    whole.optimizer.reload_model_params()
    if with_optimizer:
        _restore_states(whole, names, loaded["optimizer"], common.step or 0)


def _weight_entries(whole: Whole) -> dict[str, Any]:
    """This rank's weights by chunk and local name, as megatron-core's sharded tensors (or factories of them: gate and up)."""
    metadata = {"non_homogeneous_layers": True, "dp_cp_group": whole.groups.data_and_context}  # a key for each layer
    return {
        f"{number}.{name}": entry
        for number, chunk in enumerate(whole.chunks)
        for name, entry in chunk.sharded_state_dict(metadata=metadata).items()
        if not isinstance(entry, ShardedObject)
    }


def _states_to_save(whole: Whole, weights: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    whole.optimizer.optimizer.allocate_state()
    owned = {id(param): (master, held) for param, master, held in owned_shards(whole.optimizer)}
    group = whole.groups.data_and_context if isinstance(whole.optimizer, DistributedOptimizer) else None
    for name, entry in weights.items():
        master, held = owned.get(id(entry.data), (None, slice(0, 0)))
        for state in _STATES:
            tensor = None if master is None else _state_of(whole, master, state)
            if group is not None:
                tensor = _join_shards(entry.data, tensor, held, group)
            assert tensor is not None, f"{name} has no optimizer state on any rank"
            if not is_main_replica(entry.replica_id):
                tensor = torch.empty(entry.data.shape, device="meta")  # another rank writes it
            yield f"{state}.{name}", make_sharded_optimizer_tensor(entry, tensor.view(entry.data.shape), STATE_PREFIX + state)


def _states_to_load(weights: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, entry in weights.items():
        for state in _STATES:
            target = torch.empty(entry.data.shape, dtype=torch.float32)
            yield f"{state}.{name}", make_sharded_optimizer_tensor(entry, target, STATE_PREFIX + state)


@torch.no_grad()
def _restore_states(whole: Whole, names: dict[int, str], loaded: dict[str, Tensor], step: int) -> None:
    whole.optimizer.optimizer.allocate_state()
    for param, master, held in owned_shards(whole.optimizer):
        for state in _STATES:
            whole_state = loaded[f"{state}.{names[id(param)]}"]
            _state_of(whole, master, state).view(-1).copy_(whole_state.reshape(-1)[held])
    for group in whole.optimizer.param_groups:
        group["step"] = step


def _state_of(whole: Whole, master: Tensor, state: str) -> Tensor:
    return master.detach() if state == "fp32_param" else whole.optimizer.state[master][state]


def _join_shards(param: Tensor, shard: Tensor | None, held: slice, group: dist.ProcessGroup) -> Tensor:
    """The whole state of `param` from the ranges that the ranks hold, fp32 flat.

    A sum of bit patterns with zeros elsewhere: exact, the sign of zero and NaNs included.
    """
    joined = torch.zeros(param.numel(), dtype=torch.float32, device=param.device)
    if shard is not None:
        joined[held] = shard.view(-1)
    dist.all_reduce(joined.view(torch.int32), group=group)
    return joined


class _InProcessSave(SaveShardedStrategy):
    """Writes with torch's plain writer. megatron-core's own starts processes, which a hard exit leaves behind."""

    can_handle_sharded_objects = True

    def save(self, sharded_state_dict: dict[str, Any], checkpoint_dir: str | Path) -> None:
        """One file a rank, of the tensors of which it is the main replica."""
        keyed, _flat, _renamed = torch_dist._replace_state_dict_keys_with_sharded_keys(sharded_state_dict, keep_only_main_replica=True)
        planner = torch_dist.MCoreSavePlanner(
            can_run_decentralized_global_plan=False, dedup_replicated_tensors=False, flatten_state_dict=False
        )
        torch_checkpoint.save(torch_dist.mcore_to_pyt_state_dict(keyed), storage_writer=PlainWriter(checkpoint_dir), planner=planner)


class _GuardedLoad(torch_dist.TorchDistLoadShardedStrategy):
    """megatron-core's loading, with the metadata read by `MetadataReader`."""

    def __init__(self, reader: MetadataReader) -> None:
        super().__init__()
        self._reader = reader

    def load(self, sharded_state_dict: dict[str, Any], checkpoint_dir: str | Path) -> dict[str, Any]:
        """Fill the sharded tensors of the request."""
        keyed, flat, renamed = torch_dist._replace_state_dict_keys_with_sharded_keys(sharded_state_dict)
        tensors = [tensor for parts in keyed.values() for tensor in parts]
        request = torch_dist.mcore_to_pyt_state_dict(keyed, is_loading=True)
        planner = torch_dist.MCoreLoadPlanner(shapes_validation_sharded_tensors=tensors)
        torch_checkpoint.load(request, storage_reader=self._reader, planner=planner)
        filled = {key: torch_dist._unwrap_pyt_sharded_tensor(tensor) for key, tensor in request.items()}
        return torch_dist._replace_sharded_keys_with_state_dict_keys(filled, flat, renamed)
