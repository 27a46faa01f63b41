"""Which samples, steps and checkpoints of a run saw documents that were taken down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.common.records import write_json
from megatron_snow.config import Recipe, Workspace
from megatron_snow.datasets.sources import dataset_prefixes
from megatron_snow.datasets.takedown import REMOVED
from megatron_snow.training.token_uses import TokenUses

USES = "takedown.json"


def write_uses(recipe: Recipe, workspace: Workspace, dataset: Path, output: Path) -> list[dict[str, Any]]:
    """Write output/takedown.json: for each phase that reads the old datasets the samples that hold tokens of removed files.

    A checkpoint has seen them if it was saved at the first such step or later.
    """
    samples: dict[str, dict[int, int]] = {}  # phase -> sample -> step
    lookup = TokenUses(recipe, workspace)
    for prefix in dataset_prefixes(dataset):
        removed = pq.read_table(output / f"{prefix.name}{REMOVED}", columns=["token_start", "tokens"])
        for start, tokens in zip(removed["token_start"].to_pylist(), removed["tokens"].to_pylist()):
            for use in lookup.of(prefix, start, tokens):
                samples.setdefault(use.phase, {}).update(zip(use.samples, use.steps))
    saved = CheckpointStore(workspace.checkpoints, recipe.training.keep_checkpoints).steps()
    uses = [_use(phase, read, saved) for phase, read in samples.items()]
    write_json(output / USES, {"dataset": str(dataset), "recipe": recipe.name, "read_by": uses})
    return uses


def _use(phase: str, read: dict[int, int], saved: list[int]) -> dict[str, Any]:
    steps = sorted(set(read.values()))
    return {
        "phase": phase,
        "samples_read": len(read),
        "first_step": steps[0] if steps else None,
        "last_step": steps[-1] if steps else None,
        "checkpoints": [f"step-{step:08d}" for step in saved if steps and step >= steps[0]],
        "samples": sorted(read),
        "steps": steps,
    }
