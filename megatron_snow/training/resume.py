"""Going on from a checkpoint: what must not have changed since, for the past would be another one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from megatron_snow.checkpoint import Checkpoint
from megatron_snow.common.errors import UserError
from megatron_snow.config import Blend, Recipe, Workspace, load_recipe, recipe_to_dict
from megatron_snow.datasets import PhaseData
from megatron_snow.tokenizers import load_tokenizer
from megatron_snow.training.changes import differences
from megatron_snow.training.data import dataset_path, dataset_prefixes, fingerprints, open_phase
from megatron_snow.training.phases import Plan, PlannedPhase, Step

# Layout (parallel.*, training.micro_batch_size), saving and evaluation may change; so may phases that have not begun, and what is
# still to come of the running one. `changes` records it.
_MODEL = ("model", "tokenizer.vocab_size")
_PAST = ("seed", "training.precision", "training.optimizer", "training.document_attention", "training.reset_positions")
_FUTURE = ("tokens", "lr")  # keys of the running phase
_SAME_RATE = 1e-9  # relative: two forms of one curve round differently
_ROWS = 2**20  # samples compared at once


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
    refuse(checkpoint, changes or _other_samples(recipe, checkpoint, data))


def _same(one: Path, other: Path) -> bool:
    return load_tokenizer(one, engine="reference").digest == load_tokenizer(other, engine="reference").digest


def recipe_changes(recipe: Recipe, checkpoint: Checkpoint, also: Iterable[str] = ()) -> list[str]:
    """A line for each key that may not change any more and did; `also` names further keys or sections that may not."""
    before = load_recipe(checkpoint.recipe)
    old, new = recipe_to_dict(before), recipe_to_dict(recipe)
    keys = (*_MODEL, *_PAST) if checkpoint.step else _MODEL  # at step 0 there is a model and no past
    pairs = [(key, _at(old, key), _at(new, key)) for key in dict.fromkeys((*keys, *also))]
    changes = [_told(*difference) for pair in pairs for difference in differences(*pair)]
    return changes + list(_phase_changes(Plan(before), Plan(recipe), checkpoint.step))


def _phase_changes(before: Plan, now: Plan, done: int) -> Iterator[str]:
    """A line for each key of a phase that had begun and now has other steps up to `done`.

    The newest of them may get another horizon or curve, as long as its rates up to `done` stay.
    """
    begun = before.begun(done)
    for old, new in zip_longest(begun, now.phases[: len(begun)]):
        if new is None:
            yield f"phases.{old.phase.name}: its steps are done or begun, the recipe has it no more"
            continue
        if old.batch != new.batch:
            section = f"phases.{old.phase.name}" if new.phase.global_batch_size else "training"
            yield _told(f"{section}.global_batch_size", old.batch, new.batch)
        keys, now_keys = recipe_to_dict(old.phase), recipe_to_dict(new.phase)
        why = "" if _same_future(old, new) else _why_past(old, new, done) if old is begun[-1] else "its steps are done"
        for name in keys:
            told = [_told(*each) for each in differences(f"phases.{old.phase.name}.{name}", keys[name], now_keys[name])]
            if name in _FUTURE:
                yield from (f"{line}; {why}" for line in told if why)
            elif name != "global_batch_size":  # what it comes to is compared above
                yield from told


def _same_future(old: PlannedPhase, new: PlannedPhase) -> bool:
    return all(getattr(old.phase, name) == getattr(new.phase, name) for name in _FUTURE)


def _why_past(old: PlannedPhase, new: PlannedPhase, done: int) -> str:
    """Why the horizon or curve of the running phase would alter steps that are done; "" where it would not."""
    count = done - old.first_step + 1
    if new.steps < count or new.steps == count < old.steps:
        least = count * old.batch * old.seq_length + (count < old.steps)
        return f"{count} steps of the phase are done; its horizon must be {least} tokens or more"
    for number in range(count):
        was, would = (Step(planned.first_step + number, planned).learning_rate for planned in (old, new))
        if not math.isclose(was, would, rel_tol=_SAME_RATE):
            return f"step {old.first_step + number} was done at a learning rate of {was:.6g}, which would be {would:.6g}"
    return ""


def _told(key: str, was: Any, is_now: Any) -> str:
    return f"{key}: it was {was!r}, the recipe says {is_now!r}"


def _other_samples(recipe: Recipe, checkpoint: Checkpoint, data: Workspace) -> list[str]:
    """A line where another horizon of the running phase gives other samples to its steps so far: budgets and joint passes go by it."""
    before = load_recipe(checkpoint.recipe)
    begun = Plan(before).begun(checkpoint.step)
    if not begun or begun[-1].phase.horizon == recipe.phases[len(begun) - 1].horizon:
        return []
    old, new = begun[-1], Plan(recipe).phases[len(begun) - 1]
    samples = min(old.samples, (checkpoint.step - old.first_step + 1) * old.batch)
    if begins_alike(open_phase(old, before, data), open_phase(new, recipe, data), samples):
        return []
    told = _told(f"phases.{old.phase.name}.tokens", old.phase.tokens, new.phase.tokens)
    return [f"{told}; its steps so far would have read other samples, as budgets and `repeat: joint` go by the horizon"]


def begins_alike(one: PhaseData, other: PhaseData, samples: int) -> bool:
    """Whether the first `samples` of two mixtures over the same datasets are the same."""
    if [source.name for source in one.sources] != [source.name for source in other.sources]:
        return False
    if any((a.subset, a.together(0)) != (b.subset, b.together(0)) for a, b in zip(one.passes, other.passes)):
        return False
    blocks = (np.arange(first, min(first + _ROWS, samples)) for first in range(0, samples, _ROWS))
    return all(np.array_equal(one.blend.at(rows)[0], other.blend.at(rows)[0]) for rows in blocks)


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
