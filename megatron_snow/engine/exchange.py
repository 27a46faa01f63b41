"""Whole weights in and out of a checkpoint, in one process and without a model: for conversion to other formats."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed.checkpoint as torch_checkpoint
from torch import Tensor
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.nn.functional import pad

from megatron_snow.common.errors import UserError
from megatron_snow.config import Model
from megatron_snow.config.weights import VOCABULARY_WEIGHTS, padded_vocab_size, weight_shapes
from megatron_snow.engine.common_state import CommonState, read_common
from megatron_snow.engine.sharded import STATE_PREFIX
from megatron_snow.engine.storage import MetadataReader, readable
from megatron_snow.engine.streaming import write_tensors


def read_model(folder: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint by name (`weight_shapes`), whole, in their saved dtype, padding of the vocabulary cut off."""
    vocab_size, reader = read_common(folder).vocab_size, MetadataReader(folder)
    tensors = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in reader.read_metadata().state_dict_metadata.items()
        if isinstance(entry, TensorStorageMetadata) and not name.startswith(STATE_PREFIX)
    }
    with readable(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch on reading without a process group, which is meant
        torch_checkpoint.load(tensors, storage_reader=reader, no_dist=True)
    return {name: tensor[:vocab_size].clone() if name in VOCABULARY_WEIGHTS else tensor for name, tensor in tensors.items()}


def write_model(folder: Path, tensors: Mapping[str, Tensor], model: Model, vocab_size: int) -> None:
    """The inverse of `read_model`: a checkpoint without optimizer state, for `Engine.load(folder, optimizer=False)` in any layout.

    UserError when a weight is missing, unknown or of another shape than `model` and `vocab_size` say.
    """
    _check_tensors(tensors, weight_shapes(model, vocab_size))
    rows = padded_vocab_size(vocab_size) - vocab_size
    whole = {name: pad(tensor, (0, 0, 0, rows)) if name in VOCABULARY_WEIGHTS else tensor for name, tensor in tensors.items()}
    write_tensors(folder, whole, whole.__getitem__, CommonState.of(model, vocab_size, None))


def _check_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name in sorted(tensors.keys() ^ shapes.keys()):
        raise UserError(
            f"weight {name}: {'missing' if name in shapes else 'the model has no such weight'}; check num_layers and tie_embeddings"
        )
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise UserError(f"weight {name}: shape {list(tensors[name].shape)}, the model's is {list(shape)}")
