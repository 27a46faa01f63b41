"""What changed in a recipe since a checkpoint: told apart by key, and recorded in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from megatron_snow.checkpoint import Checkpoint
from megatron_snow.common.files import atomic_file
from megatron_snow.common.records import read_json_lines
from megatron_snow.config import Recipe, Workspace, load_recipe, recipe_to_dict


def differences(key: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """(key, value before, value now) of the innermost keys below `key` whose values differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in before | now:
            yield from differences(f"{key}.{name}".lstrip("."), before.get(name), now.get(name))
    elif before != now:
        yield key, before, now


def record_changes(recipe: Recipe, checkpoint: Checkpoint, workspace: Workspace) -> list[str]:
    """Append {date, step, changes: {key: {was, is}}} to the run's recipe_changes.jsonl; the changes as text, one a line.

    `step` is the last one under the recipe before. Called for changes that were checked to leave the steps so far as they were;
    a run that is broken off before its next checkpoint and started again records them once.
    """
    found = {key: {"was": was, "is": now} for key, was, now in differences("", _tree(load_recipe(checkpoint.recipe)), _tree(recipe))}
    path = workspace.recipe_changes
    lines = list(read_json_lines(path)) if path.is_file() else []
    if not found or (lines and (lines[-1]["step"], lines[-1]["changes"]) == (checkpoint.step, found)):
        return []
    lines.append({"date": datetime.now(UTC).isoformat(timespec="seconds"), "step": checkpoint.step, "changes": found})
    with atomic_file(path) as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return [f"{key}: it was {change['was']!r}, after step {checkpoint.step} it is {change['is']!r}" for key, change in found.items()]


def _tree(recipe: Recipe) -> dict[str, Any]:
    """The recipe with its phases by name."""
    tree = recipe_to_dict(recipe)
    return tree | {"phases": {phase["name"]: phase for phase in tree["phases"]}}
