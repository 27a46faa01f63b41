"""Going on from a checkpoint: what must not have changed since, for the past would be another one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from megatron_snow.checkpoint import Checkpoint
from megatron_snow.common.errors import UserError
from megatron_snow.config import Blend, Recipe, Workspace, load_recipe, recipe_to_dict
from megatron_snow.tokenizers import load_tokenizer
from megatron_snow.training.data import dataset_path, dataset_prefixes, fingerprints
from megatron_snow.training.phases import Plan

# Layout (parallel.*, training.micro_batch_size), saving and evaluation may change; so may phases that have not begun.
_MODEL = ("model", "tokenizer.vocab_size")
_PAST = ("seed", "training.global_batch_size", "training.precision", "training.optimizer")


def check_unchanged(recipe: Recipe, checkpoint: Checkpoint, data: Workspace, tokenizer: Path) -> None:
    """UserError where recipe, tokenizer or data are not those that made the checkpoint."""
    changes = recipe_changes(recipe, checkpoint)
    if checkpoint.tokenizer.is_file() and not _same(checkpoint.tokenizer, tokenizer):
        changes.append(f"tokenizer.model: {tokenizer} is not the tokenizer of the checkpoint")
    for dataset, known in checkpoint.state.get("data", {}).items():
        path = dataset_path(dataset, data)
        # What a finished phase has read may be deleted, but not replaced.
        if (path.exists() or dataset_prefixes(path)) and fingerprints([Blend(dataset)], data)[dataset] != known:
            changes.append(f"dataset {dataset}: {path} holds other tokens than the steps so far have read")
    refuse(checkpoint, changes)


def _same(one: Path, other: Path) -> bool:
    return load_tokenizer(one, engine="reference").digest == load_tokenizer(other, engine="reference").digest


def recipe_changes(recipe: Recipe, checkpoint: Checkpoint, also: Iterable[str] = ()) -> list[str]:
    """A line for each key that may not change any more and did; `also` names further keys or sections that may not."""
    old, new = recipe_to_dict(load_recipe(checkpoint.recipe)), recipe_to_dict(recipe)
    keys = (*_MODEL, *_PAST) if checkpoint.step else _MODEL  # at step 0 there is a model and no past
    pairs = [(key, _at(old, key), _at(new, key)) for key in dict.fromkeys((*keys, *also))]
    for number, planned in enumerate(Plan(load_recipe(checkpoint.recipe)).begun(checkpoint.step)):
        now = new["phases"][number] if number < len(new["phases"]) else None
        pairs.append((f"phases.{planned.phase.name}", old["phases"][number], now))
    differences = [difference for pair in pairs for difference in _differences(*pair)]
    return [f"{key}: it was {before!r}, the recipe says {now!r}" for key, before, now in differences]


def refuse(checkpoint: Checkpoint, changes: Sequence[str]) -> None:
    """UserError with all changes, where there are any."""
    if changes:
        told = f"{checkpoint.path}: the run so far was trained otherwise; set it back, or start anew with another --output"
        raise UserError("\n  ".join([told, *changes]))


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
