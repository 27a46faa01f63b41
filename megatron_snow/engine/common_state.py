"""common.pt: what a checkpoint holds beside its tensors."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from megatron_snow.common.errors import UserError
from megatron_snow.config import Model

COMMON_FILE = "common.pt"
_SHAPE_KEYS = ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "num_query_groups", "tie_embeddings")


@dataclass(frozen=True)
class CommonState:
    """Plain values alone, so that `weights_only` reads them."""

    model: dict[str, Any]  # the recipe's model
    vocab_size: int  # not padded
    step: int | None  # updates of the optimizer; None: weights alone

    @classmethod
    def of(cls, model: Model, vocab_size: int, step: int | None) -> CommonState:
        return cls(dataclasses.asdict(model), vocab_size, step)

    def without_optimizer(self) -> CommonState:
        """The same of a checkpoint of weights alone."""
        return dataclasses.replace(self, step=None)

    def as_dict(self) -> dict[str, Any]:
        """As it lies in the file."""
        return {"common": dataclasses.asdict(self)}

    def check(self, folder: Path, model: Model, vocab_size: int) -> None:
        """UserError naming the key and both values, unless weights of this checkpoint fit the model."""
        wanted = {f"model.{key}": getattr(model, key) for key in _SHAPE_KEYS} | {"tokenizer.vocab_size": vocab_size}
        found = {f"model.{key}": self.model[key] for key in _SHAPE_KEYS} | {"tokenizer.vocab_size": self.vocab_size}
        for key, value in wanted.items():
            if found[key] != value:
                raise UserError(f"{folder}: saved with {key} {found[key]}, the recipe says {value}; set it to {found[key]}")


def read_common(folder: Path) -> CommonState:
    """UserError that names the file when it is missing or not ours."""
    path = folder / COMMON_FILE
    try:
        return CommonState(**torch.load(path, map_location="cpu", weights_only=True)["common"])
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {folder} is not a checkpoint of a model") from None
    except Exception as error:  # a damaged file raises nearly anything
        raise UserError(f"{path}: not the state of a checkpoint ({' '.join(str(error).split())[:200]})") from error
