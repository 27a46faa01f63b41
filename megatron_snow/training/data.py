"""Where a run's tokens are, and the rows that a rank reads at a step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from megatron_snow.common.checksums import file_digest, value_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.common.records import read_manifest
from megatron_snow.config import Blend, FillInMiddle, Recipe, Workspace
from megatron_snow.datasets import PhaseData
from megatron_snow.datasets.segments import PADDING
from megatron_snow.datasets.sources import Passes, dataset_path, dataset_prefixes
from megatron_snow.datasets.vocabulary import first_outside
from megatron_snow.tokenizers import load_tokenizer
from megatron_snow.training.phases import Plan, PlannedPhase, Step


def data_workspace(recipe: Recipe, workspace: Workspace) -> Workspace:
    """Where datasets and tokenizer are looked for: the run's folder if it holds tokens, else the recipe's workspace."""
    return workspace if workspace.tokens("").is_dir() else Workspace(Path(recipe.workspace))


def fingerprints(blends: Iterable[Blend], workspace: Workspace) -> dict[str, str]:
    """A digest of each dataset: of its indices and, where the stage that made it left a manifest, of its tokens.

    Files of others have no manifest, and reading terabytes before step 1 to digest them is too slow: there the
    lengths of all sequences, which other documents or another tokenizer change, must do.
    """
    return {blend.dataset: _fingerprint(dataset_path(blend.dataset, workspace)) for blend in blends}


def _fingerprint(path: Path) -> str:
    manifest = read_manifest(path)
    known = manifest.outputs if manifest else {}
    names = {prefix: f"{prefix.name}.bin" for prefix in dataset_prefixes(path)}
    return value_digest({name: [file_digest(beside(prefix, ".idx")), known.get(name)] for prefix, name in names.items()})


@dataclass(frozen=True)
class LocalBatch:
    """What a rank trains on: tokens int64[n, seq_length + 1], mask bool[n, seq_length] of the targets that count (None: all).

    documents int32[n, seq_length]: the numbers of the inputs' documents, where training.document_attention or reset_positions asks.
    """

    tokens: np.ndarray
    mask: np.ndarray | None = None
    documents: np.ndarray | None = None


class BatchReader:
    """Reads the rows of any step; holds the data of one phase open."""

    def __init__(self, recipe: Recipe, workspace: Workspace) -> None:
        self._recipe, self._workspace = recipe, workspace
        self._open: tuple[PlannedPhase, PhaseData] | None = None

    def phase(self, planned: PlannedPhase) -> PhaseData:
        """The samples of a phase."""
        if self._open is None or self._open[0] != planned:
            self._open = planned, open_phase(planned, self._recipe, self._workspace)
        return self._open[1]

    def read(self, step: Step, data_rank: int, data_size: int) -> LocalBatch:
        """The rank's rows of a step; UserError where a token is not in the vocabulary. Places that fill a sample up are no targets."""
        numbers = step.rows(data_rank, data_size)
        data = self.phase(step.planned)
        batch, size = data.read(numbers), self._recipe.tokenizer.vocab_size
        if (place := first_outside(batch.tokens, size)) is not None:
            source, _, _ = data.locate(numbers[place // batch.tokens.shape[1]])
            raise UserError(
                f"{source.path}.bin: token {batch.tokens.flat[place]} is not one of 0 to {size - 1}, tokenizer.vocab_size; "
                "it was made with another tokenizer, make it again with this run's"
            )
        training, segments = self._recipe.training, batch.segments
        return LocalBatch(
            batch.tokens,
            segments[:, 1:] != PADDING if step.phase.packing == "best_fit" else None,
            segments[:, :-1] if training.uses_documents else None,
        )


def open_phase(planned: PlannedPhase, recipe: Recipe, workspace: Workspace) -> PhaseData:
    """The samples of a planned phase; the tokenizer is read where its samples take it."""
    phase, cursors, tokenizer = planned.phase, cursors_of(planned, recipe, workspace), None
    if phase.packing == "best_fit" or phase.fim.rate or recipe.training.uses_documents:
        tokenizer = load_tokenizer(Path(recipe.tokenizer.model or workspace.tokenizer_model), recipe.tokenizer.vocab_size)
    return PhaseData(
        phase,
        workspace=workspace,
        seq_length=planned.seq_length,
        samples=planned.samples,
        seed=recipe.seed,
        tokenizer=tokenizer,
        cursors=cursors,
    )


def cursors_of(planned: PlannedPhase, recipe: Recipe, workspace: Workspace) -> dict[str, Passes]:
    """What the phases before have left of each source of a phase with `sample_cursor: carry`: the last one's word counts."""
    found: dict[str, Passes] = {}
    names = {blend.dataset for blend in planned.phase.data} if planned.phase.sample_cursor == "carry" else set()
    for before in Plan(recipe).phases:
        if before.first_step < planned.first_step and names & {blend.dataset for blend in before.phase.data}:
            unread = replace(before, phase=replace(before.phase, fim=FillInMiddle()))  # its samples are counted, no tokenizer needed
            found |= open_phase(unread, recipe, workspace).left()
    return found
