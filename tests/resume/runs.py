"""Runs of `pretrain` in the pool of processes, and what of two of them must be the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.common.records import read_json_lines
from megatron_snow.config import Workspace, load_recipe

Seen = list[list[int]]  # [step, samples of this rank...]


def run_steps(recipe: Path, output: Path, changes: list[str], stop_after: int = 0) -> Seen:
    """Pretrain in a new engine, on from what `output` holds; called by each rank.

    stop_after: the step in which a stop signal comes; 0: none.
    """
    from megatron_snow.training.data import BatchReader
    from megatron_snow.training.guards import StopSignal
    from megatron_snow.training.pretrain import pretrain

    seen: Seen = []
    read = BatchReader.read

    def record(self: BatchReader, step: Any, rank: int, size: int) -> Any:
        seen.append([step.number, *step.rows(rank, size)])
        return read(self, step, rank, size)

    def is_stopped(self: StopSignal) -> bool:
        return seen[-1][0] == stop_after

    with patch.object(BatchReader, "read", record), patch.object(StopSignal, "requested", is_stopped):
        pretrain(load_recipe(recipe, changes), Workspace(output))
    return seen


def steps_of(output: Path) -> list[tuple[int, float, float]]:
    """(step, loss, gradient norm) as they lie in metrics.jsonl."""
    return [(line["step"], line["loss"], line["grad_norm"]) for line in read_json_lines(output / "metrics.jsonl")]


def model_files(output: Path, step: int) -> dict[str, bytes]:
    """Weights, moments, masters and step count: every byte of a checkpoint's model."""
    model = CheckpointStore(Workspace(output).checkpoints, 2).at(step).model
    return {path.name: path.read_bytes() for path in sorted(model.iterdir())}
