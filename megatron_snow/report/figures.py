"""The numbers of a run, read from its folder. What was not run yet is None or empty, never made up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from megatron_snow.common.errors import UserError
from megatron_snow.common.records import read_json, read_json_lines, read_manifest
from megatron_snow.common.splits import finer_splits
from megatron_snow.config import Workspace

_FUNNEL = ("collected", "filtered", "deduplicated", "redacted", "decontaminated", "held_out", "test", "grouped")
_DATASETS = ("general", "held_out", "test", "selected", "synthetic")


@dataclass(frozen=True)
class FunnelRow:
    """What a corpus stage kept and why it dropped the rest."""

    stage: str
    documents: int
    kept: int
    kept_bytes: int
    seconds: float
    dropped: dict[str, int]  # rule -> documents
    dropped_by_language: dict[str, dict[str, int]]  # rule -> language -> documents
    finer: list[str]  # of a split: languages with too few repositories, and what they are split by


@dataclass(frozen=True)
class Figures:
    """Everything a report shows."""

    recipe: dict[str, Any]
    funnel: list[FunnelRow]
    tokens: dict[str, dict[str, int]]  # dataset -> language -> tokens
    metrics: list[dict[str, Any]]  # a record a step
    held_out: list[dict[str, Any]]  # a record a phase, of the phase that runs its newest
    held_out_points: list[dict[str, Any]]  # all of them: also at checkpoints that were evaluated within a phase
    downstream: list[dict[str, Any]]  # a record a checkpoint and benchmark
    annotator: dict[str, Any] | None
    synthesis: dict[str, int] | None
    scores: list[dict[str, Any]]
    timings: dict[str, dict[str, float]]


def read_figures(workspace: Workspace) -> Figures:
    """Read a run; UserError when the folder holds none."""
    root = workspace.root
    if not (root / "recipe.yaml").is_file():
        raise UserError(f"{root}: no run there (no recipe.yaml); name the folder that run-recipe or pretrain wrote to")
    return Figures(
        recipe=yaml.safe_load((root / "recipe.yaml").read_text(encoding="utf-8")),
        funnel=[row for stage in _FUNNEL if (row := _funnel_row(workspace, stage))],
        tokens={dataset: by_language for dataset in _DATASETS if (by_language := _counts(workspace.tokens(dataset), "tokens:"))},
        metrics=_lines(workspace.metrics),
        held_out=list({record["phase"]: record for record in _lines(workspace.held_out_metrics)}.values()),
        held_out_points=_lines(workspace.held_out_metrics),
        downstream=_lines(workspace.downstream_metrics),
        annotator=_json(workspace.annotator("head") / "head.json"),
        synthesis=_synthesis(workspace),
        scores=[read_json(path) for path in sorted(workspace.evaluation.glob("*.json"))],
        timings=_json(root / "timings.json") or {},
    )


def _funnel_row(workspace: Workspace, stage: str) -> FunnelRow | None:
    manifest = read_manifest(workspace.corpus(stage))
    if manifest is None:
        return None
    dropped: dict[str, int] = {}
    by_language: dict[str, dict[str, int]] = {}
    for name, count in manifest.counts.items():
        kind, *rest = name.split(":", 2)
        if kind == "dropped" and len(rest) == 1:
            dropped[rest[0]] = count
        elif kind == "dropped":
            by_language.setdefault(rest[0], {})[rest[1]] = count
    counts = manifest.counts
    kept = counts.get("kept", 0)
    return FunnelRow(
        stage,
        counts.get("documents", kept),
        kept,
        counts.get("kept_bytes", 0),
        manifest.seconds,
        dropped,
        by_language,
        finer_splits(counts),
    )


def _counts(folder: Path, prefix: str) -> dict[str, int]:
    """Counts of a manifest that start with `prefix`, largest first."""
    manifest = read_manifest(folder)
    found = {name.removeprefix(prefix): n for name, n in manifest.counts.items() if name.startswith(prefix)} if manifest else {}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _synthesis(workspace: Workspace) -> dict[str, int] | None:
    manifest = read_manifest(workspace.synthesis("documents"))
    return manifest.counts if manifest else None


def _lines(path: Path) -> list[dict[str, Any]]:
    return list(read_json_lines(path)) if path.is_file() else []


def _json(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.is_file() else None
