"""Whole tensors of checkpoints one at a time, in one process and without a model: for what must not hold a model in memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.distributed.checkpoint as torch_checkpoint
from torch import Tensor
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from megatron_snow.engine.common_state import CommonState, read_common
from megatron_snow.engine.pieces import Pieces
from megatron_snow.engine.sharded import STATE_PREFIX
from megatron_snow.engine.storage import MetadataReader, readable
from megatron_snow.engine.writing import write_index, write_part

_MASTER = STATE_PREFIX + "fp32_param."


class TensorReader:
    """The tensors of one checkpoint; each is read from the disk when it is asked for."""

    def __init__(self, folder: Path) -> None:
        """UserError naming the file where the folder holds no checkpoint that can be trusted."""
        self.common = read_common(folder)
        self._folder, self._reader = folder, MetadataReader(folder)
        entries = self._reader.read_metadata().state_dict_metadata
        self._entries = {name: entry for name, entry in entries.items() if isinstance(entry, TensorStorageMetadata)}

    @property
    def weights(self) -> dict[str, Tensor]:
        """The model's weights by name as they lie there, rows of vocabulary padding included: shapes and dtypes, on the meta device."""
        return {
            name: torch.empty(entry.size, dtype=entry.properties.dtype, device="meta")
            for name, entry in self._entries.items()
            if not name.startswith(STATE_PREFIX)
        }

    def read(self, weight: str) -> Tensor:
        """A weight in fp32: the optimizer's master where the checkpoint has one, which bf16 weights are a rounding of."""
        name = _MASTER + weight if _MASTER + weight in self._entries else weight
        tensor = torch.empty(self._entries[name].size, dtype=self._entries[name].properties.dtype)
        with readable(self._folder), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch on reading without a process group, which is meant
            torch_checkpoint.load({name: tensor}, storage_reader=self._reader, no_dist=True)
        return tensor.float()


def write_tensors(folder: Path, weights: Mapping[str, Tensor], make: Callable[[str], Tensor], common: CommonState) -> None:
    """Write a checkpoint of weights alone, for `Engine.load(folder, optimizer=False)` in any layout.

    weights: name -> a tensor of the shape and dtype to be written, which may be on the meta device; `make(name)` gives its values
    when its turn has come.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = write_part(folder, 0, ((name, _checked(name, make(name), planned)) for name, planned in weights.items()))
    write_index(folder, [part], common)


def _checked(name: str, made: Tensor, planned: Tensor) -> Pieces:
    tensor = made.to(planned.dtype).contiguous()
    assert tensor.shape == planned.shape, f"{name}: {tuple(tensor.shape)} made, {tuple(planned.shape)} planned"
    return Pieces.of_whole(tensor)
