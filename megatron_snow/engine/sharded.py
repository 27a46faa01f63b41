"""What of a model and its optimizer each rank writes and reads, in megatron-core's torch_dist format, the same for every layout.

    common.pt         step count of the optimizer, vocabulary, shape of the model
    .metadata         which file holds which part of which tensor
    __R_0.distcp      tensors that rank R wrote
    metadata.json     the format's name

A weight has its name ("decoder.layers.3.mlp.linear_fc1.weight"); AdamW's state of it is optimizer.state.{fp32_param,
exp_avg, exp_avg_sq}.NAME, in the weight's own shape, so that ZeRO-1 can be turned on or off between save and load.
With ZeRO-1 each rank writes the ranges it owns; what replicas hold alike they share out among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed.checkpoint as torch_checkpoint
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedObject, ShardedTensor, ShardedTensorFactory
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
from megatron.core.optimizer.optimizer import MegatronOptimizer
from megatron.core.transformer.module import MegatronModule
from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex
from torch.distributed.checkpoint.planner import LoadPlan
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list

from megatron_snow.common.errors import UserError
from megatron_snow.config import Recipe
from megatron_snow.engine.common_state import read_common
from megatron_snow.engine.groups import Groups
from megatron_snow.engine.optimizer import owned_shards
from megatron_snow.engine.pieces import Pieces
from megatron_snow.engine.storage import MetadataReader

STATE_PREFIX = "optimizer.state."
_STATES = ("fp32_param", "exp_avg", "exp_avg_sq")


class Whole(NamedTuple):
    """What a checkpoint is made of, as this rank has it."""

    chunks: list[MegatronModule]
    optimizer: MegatronOptimizer
    groups: Groups


class _Held(NamedTuple):
    """A flat range of a parameter in this rank's memory, and where the parameter lies in the whole model."""

    parts: list[ShardedTensor]  # of the parameter, in the order of its memory: one, or gate and up
    values: Tensor  # flat
    first: int  # element of the parameter that values[0] is

    def add_to(self, request: dict[str, Pieces], prefix: str, parts: list[int]) -> None:
        """Add those of the parts that the range holds something of."""
        start = 0  # of the part in the parameter
        for number, part in enumerate(self.parts):
            stop = start + part.data.numel()
            low, high = max(start, self.first), min(stop, self.first + self.values.numel())
            if number in parts and low < high:
                pieces = request.setdefault(prefix + part.key, Pieces(torch.Size(part.global_shape), self.values.dtype))
                pieces.add(self.values[low - self.first : high - self.first], part.global_offset, part.local_shape, low - start)
            start = stop


def to_save(whole: Whole) -> dict[str, Pieces]:
    """What this rank writes, by the name of the whole tensor: views of weights and states as they are now."""
    request: dict[str, Pieces] = {}
    replicas = whole.groups.data_and_context
    share = _Shares(replicas.size(), replicas.rank())
    for held in _weights(whole):
        held.add_to(request, "", share.mine(held))
    owner = isinstance(whole.optimizer, DistributedOptimizer)  # of what nobody else has
    for state, held in _states(whole):
        everywhere = [number for number, part in enumerate(held.parts) if _is_first_copy(part)]
        held.add_to(request, f"{STATE_PREFIX}{state}.", everywhere if owner else share.mine(held))
    return request


def load_sharded(folder: Path, whole: Whole, recipe: Recipe, *, with_optimizer: bool) -> None:
    """Read the weights and, if asked, AdamW's state; all ranks together. UserError when the model is another."""
    common = read_common(folder)
    common.check(folder, recipe.model, recipe.tokenizer.vocab_size)
    if with_optimizer and common.step is None:
        raise UserError(f"{folder}: holds weights alone; load it without the optimizer's state (phases.NAME.optimizer_state: reset)")
    reader = MetadataReader(folder)
    _read(reader, folder, [("", held) for held in _weights(whole)])
    whole.optimizer.reload_model_params()
    if with_optimizer:  # into the optimizer's own tensors, after the masters were made of the weights
        _read(reader, folder, [(f"{STATE_PREFIX}{state}.", held) for state, held in _states(whole)])
        for group in whole.optimizer.param_groups:
            group["step"] = common.step or 0


def _weights(whole: Whole) -> Iterator[_Held]:
    """This rank's weights, each whole as the rank has it."""
    for entry in _entries(whole):
        yield _Held(_parts(entry), entry.data.detach().view(-1), 0)


def _states(whole: Whole) -> Iterator[tuple[str, _Held]]:
    """(name, range of it) of the optimizer's states that this rank has."""
    whole.optimizer.optimizer.allocate_state()
    owned = {id(param): (master, held) for param, master, held in owned_shards(whole.optimizer)}
    for entry in _entries(whole):
        if id(entry.data) not in owned:  # ZeRO-1: nothing of this parameter
            continue
        master, held = owned[id(entry.data)]
        for state in _STATES:
            values = master if state == "fp32_param" else whole.optimizer.state[master][state]
            yield state, _Held(_parts(entry), values.detach().view(-1), held.start)


def _entries(whole: Whole) -> Iterator[Any]:
    """megatron-core's description of each weight of this rank; `data` is the parameter itself."""
    metadata = {"non_homogeneous_layers": True, "dp_cp_group": whole.groups.data_and_context}  # a key for each layer
    for chunk in whole.chunks:
        entries = chunk.sharded_state_dict(metadata=metadata).values()
        yield from (entry for entry in entries if not isinstance(entry, ShardedObject))


def _parts(entry: ShardedTensor | ShardedTensorFactory) -> list[ShardedTensor]:
    return list(nested_values(entry.build())) if isinstance(entry, ShardedTensorFactory) else [entry]


def _is_first_copy(part: ShardedTensor) -> bool:
    """Whether no other tensor or pipeline rank holds it too (norms, tied embeddings); replicas of data and context are another matter."""
    assert isinstance(part.replica_id, tuple)
    return not any(part.replica_id[:-1])


class _Shares:
    """Who of the replicas writes what they all have: each next part goes to the one with the fewest bytes so far, alike on all."""

    def __init__(self, size: int, rank: int) -> None:
        self._bytes, self._rank = [0] * size, rank

    def mine(self, held: _Held) -> list[int]:
        """Numbers of the parts that this rank writes."""
        chosen = []
        for number, part in enumerate(held.parts):
            if not _is_first_copy(part):
                continue
            writer = self._bytes.index(min(self._bytes))
            self._bytes[writer] += part.data.numel() * held.values.element_size()
            if writer == self._rank:
                chosen.append(number)
        return chosen


def _read(reader: MetadataReader, folder: Path, wanted: list[tuple[str, _Held]]) -> None:
    """Fill the ranges from the checkpoint, wherever in it they lie."""
    request: dict[str, Pieces] = {}
    for prefix, held in wanted:
        held.add_to(request, prefix, list(range(len(held.parts))))
    try:
        torch_checkpoint.load(dict(request), storage_reader=reader, planner=_BoxPlanner(request))
    except torch_checkpoint.CheckpointException as error:
        causes = [failure for failure, _trace in error.failures.values()]
        raise UserError(f"{folder}: cannot be read: {' '.join(str(causes[0] if causes else error).split())[-300:]}") from error


class _BoxPlanner(torch_checkpoint.DefaultLoadPlanner):
    """Reads boxes in place."""

    def __init__(self, request: dict[str, Pieces]) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        self._request = request

    def set_up_planner(self, state_dict: dict[str, Any], metadata: Metadata | None = None, is_coordinator: bool = False) -> None:
        """Keep the metadata."""
        self.metadata = metadata

    def create_local_plan(self) -> LoadPlan:
        """What to read where; ValueError naming a tensor that the checkpoint has not, or has in another shape."""
        assert self.metadata is not None
        items = []
        for name, pieces in self._request.items():
            entry = self.metadata.state_dict_metadata.get(name)
            if getattr(entry, "size", None) != pieces.size:
                raise ValueError(f"{name}: {list(getattr(entry, 'size', ())) or 'missing'}, the model's is {list(pieces.size)}")
            items += create_read_items_for_chunk_list(name, entry, pieces.chunks)  # type: ignore[arg-type]
        return LoadPlan(items)

    def lookup_tensor(self, index: MetadataIndex) -> Tensor:
        """The memory of a box."""
        assert index.offset is not None
        return self._request[index.fqn].tensors[tuple(index.offset)]
