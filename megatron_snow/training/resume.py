"""Going on from a checkpoint: what must not have changed since, for the past would be another one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megatron_snow.checkpoint import Checkpoint
from megatron_snow.common.checksums import file_digest
from megatron_snow.common.errors import UserError
from megatron_snow.config import Blend, Recipe, Workspace, load_recipe, recipe_to_dict
from megatron_snow.training.data import dataset_path, fingerprints
from megatron_snow.training.phases import Plan

# Layout (parallel.*, training.micro_batch_size), saving and evaluation may change; so may phases that have not begun.
_MODEL = ("model", "tokenizer.vocab_size")
_PAST = ("seed", "training.global_batch_size", "training.precision", "training.optimizer")


def check_unchanged(recipe: Recipe, checkpoint: Checkpoint, data: Workspace, tokenizer: Path) -> None:
    """UserError where recipe, tokenizer or data are not those that made the checkpoint."""
    changes = [
        f"{key}: it was {before!r}, the recipe says {now!r}"
        for key, before, now in _changed_keys(recipe, load_recipe(checkpoint.recipe), checkpoint.step)
    ]
    if checkpoint.tokenizer.is_file() and file_digest(checkpoint.tokenizer) != file_digest(tokenizer):
        changes.append(f"tokenizer.model: {tokenizer} is not the tokenizer of the checkpoint")
    for dataset, known in checkpoint.state.get("data", {}).items():
        path = dataset_path(dataset, data)
        # What a finished phase has read may be deleted, but not replaced.
        if path.exists() and fingerprints([Blend(dataset)], data)[dataset] != known:
            changes.append(f"dataset {dataset}: {path} holds other tokens than the steps so far have read")
    if changes:
        raise UserError(
            "\n  ".join(
                [f"{checkpoint.path}: the run so far was trained otherwise; set it back, or start anew with another --output", *changes]
            )
        )


def _changed_keys(recipe: Recipe, before: Recipe, step: int) -> Iterator[tuple[str, Any, Any]]:
    old, new = recipe_to_dict(before), recipe_to_dict(recipe)
    for key in (*_MODEL, *_PAST) if step else _MODEL:  # at step 0 there is a model and no past
        yield from _differences(key, _at(old, key), _at(new, key))
    for number, planned in enumerate(Plan(before).begun(step)):
        now = new["phases"][number] if number < len(new["phases"]) else None
        yield from _differences(f"phases.{planned.phase.name}", old["phases"][number], now)


def _at(tree: dict[str, Any], key: str) -> Any:
    value: Any = tree
    for part in key.split("."):
        value = value[part]
    return value


def _differences(key: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """The innermost keys whose values differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in before | now:
            yield from _differences(f"{key}.{name}", before.get(name), now.get(name))
    elif before != now:
        yield key, before, now
