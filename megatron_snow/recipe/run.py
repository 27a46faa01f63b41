"""Run the steps of a plan in order; finished ones cost a check of their manifests and nothing more."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.common.errors import UserError, nearest
from megatron_snow.common.explain import WouldRun, explaining
from megatron_snow.common.files import PARTIAL
from megatron_snow.common.locks import FolderLock
from megatron_snow.common.records import read_json, write_json
from megatron_snow.config import Recipe, Workspace, check_makeable, save_recipe
from megatron_snow.recipe.context import Run
from megatron_snow.recipe.meter import MemoryMeter
from megatron_snow.recipe.plan import Step, makers, plan, sections
from megatron_snow.training.resume import recipe_changes, refuse

_KEPT = "kept as it is: the model was trained on it"


def run_recipe(recipe: Recipe, workspace: Workspace, *, until: str | None = None) -> None:
    """Run a recipe, or its steps up to and with `until`; prints a heading and one line of result a step."""
    steps = _checked_steps(recipe, until)
    with FolderLock(workspace.root, "run"):
        frozen = _frozen_steps(recipe, workspace)
        _remove_leavings(workspace)
        run = Run(recipe, workspace, workspace.root / "recipe.yaml")
        save_recipe(recipe, run.recipe_file)
        print(f"{recipe.name}: {len(steps)} steps into {workspace.root}", flush=True)
        start = time.monotonic()
        for number, step in enumerate(steps, 1):
            print(f"\n[{number}/{len(steps)}] {step.title}", flush=True)
            result = _KEPT if step.name in frozen else _measured(step, run)
            print(f"  {result}", flush=True)
        print(f"\ndone in {(time.monotonic() - start) / 60:.1f} min: {workspace.root}", flush=True)


def explain_recipe(recipe: Recipe, workspace: Workspace, *, until: str | None = None) -> None:
    """Print of each step that it is done, up to the first that would run: WouldRun says why. Writes nothing."""
    steps = _checked_steps(recipe, until)
    frozen = _frozen_steps(recipe, workspace)
    run = Run(recipe, workspace, workspace.root / "recipe.yaml")
    with explaining():
        for number, step in enumerate(steps, 1):
            try:
                print(f"[{number}/{len(steps)}] {step.name}: done; {_KEPT if step.name in frozen else step.action(run)}", flush=True)
            except WouldRun as reasons:
                print(f"[{number}/{len(steps)}] {step.name}: would run")
                raise reasons from None


def _checked_steps(recipe: Recipe, until: str | None) -> Sequence[Step]:
    steps = _steps_until(plan(recipe), until)
    problems = [f"{key}: {message}" for key, message in check_makeable(recipe)]
    if problems:
        raise UserError("\n  ".join(["the recipe cannot make its datasets", *problems]))
    return steps


def _frozen_steps(recipe: Recipe, workspace: Workspace) -> set[str]:
    """Steps whose data the steps of training so far have read: made again they could differ, as a machine's packages change.

    UserError, before anything is written, where the recipe now says other than what was trained.
    """
    newest = CheckpointStore(workspace.checkpoints, keep=1).newest()
    if newest is None:
        return set()
    read = newest.state.get("data", {})
    refuse(newest, recipe_changes(recipe, newest, sections(read)))
    return makers(read)


def _remove_leavings(workspace: Workspace) -> None:
    """Delete what killed runs were writing; checkpoints look after their own."""
    for path in sorted(workspace.root.rglob(f"*{PARTIAL}")):
        if workspace.checkpoints in path.parents or not path.exists():
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _steps_until(steps: list[Step], until: str | None) -> Sequence[Step]:
    if until is None:
        return steps
    names = [step.name for step in steps]
    if until not in names:
        raise UserError(f"--until {until}: no such step{nearest(until, names)}; there are {', '.join(names)}")
    return steps[: names.index(until) + 1]


def _measured(step: Step, run: Run) -> str:
    """Run a step; add its wall time and peak memory to `timings.json`, also when it is interrupted."""
    start = time.monotonic()
    with MemoryMeter() as meter:
        try:
            return step.action(run)
        finally:
            _record(run.workspace.root / "timings.json", step.name, time.monotonic() - start, meter.peak_bytes)


def _record(path: Path, name: str, seconds: float, peak_bytes: int) -> None:
    timings = read_json(path) if path.is_file() else {}
    before = timings.get(name, {"seconds": 0.0, "peak_bytes": 0})
    timings[name] = {
        "seconds": round(before["seconds"] + seconds, 2),  # over all runs of this folder
        "peak_bytes": max(before["peak_bytes"], peak_bytes),
    }
    write_json(path, timings)
