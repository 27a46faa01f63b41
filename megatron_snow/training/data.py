"""Where a run's tokens are, and the rows that a rank reads at a step."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from megatron_snow.common.checksums import file_digest, value_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.common.records import read_manifest
from megatron_snow.config import Blend, Recipe, Workspace
from megatron_snow.datasets import PhaseData
from megatron_snow.datasets.sources import dataset_path, dataset_prefixes
from megatron_snow.training.phases import PlannedPhase, Step


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


class BatchReader:
    """Reads the rows of any step; holds the data of one phase open."""

    def __init__(self, recipe: Recipe, workspace: Workspace) -> None:
        self._recipe, self._workspace = recipe, workspace
        self._open: tuple[PlannedPhase, PhaseData] | None = None

    def phase(self, planned: PlannedPhase) -> PhaseData:
        """The samples of a phase."""
        if self._open is None or self._open[0] != planned:
            data = PhaseData(
                planned.phase,
                workspace=self._workspace,
                seq_length=planned.seq_length,
                samples=planned.samples,
                seed=self._recipe.seed,
            )
            self._open = planned, data
        return self._open[1]

    def read(self, step: Step, data_rank: int, data_size: int) -> np.ndarray:
        """int64[rows, seq_length + 1]; UserError where a token is not in the vocabulary."""
        rows = step.rows(data_rank, data_size)
        tokens = self.phase(step.planned).batch(rows)
        size = self._recipe.tokenizer.vocab_size
        if tokens.size and (tokens.max() >= size or tokens.min() < 0):
            row = int(np.flatnonzero((tokens >= size).any(1) | (tokens < 0).any(1))[0])
            source, _, _ = self.phase(step.planned).locate(rows[row])
            raise UserError(
                f"{source.path}.bin: token {tokens[row].max()} is not below tokenizer.vocab_size {size}; "
                "it was made with another tokenizer, make it again with this run's"
            )
        return tokens
