"""At which steps of a run tokens of a dataset are read."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from megatron_snow.common.records import MANIFEST
from megatron_snow.config import Recipe, Workspace
from megatron_snow.datasets import PhaseData
from megatron_snow.datasets.sources import dataset_path, dataset_prefixes
from megatron_snow.datasets.uses import samples_with
from megatron_snow.training.data import data_workspace, open_phase
from megatron_snow.training.phases import Plan, PlannedPhase

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Use:
    """The samples of a phase, numbered within it, that read some tokens, and the step of each over the whole run."""

    phase: str
    samples: list[int]
    steps: list[int]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class TokenUses:
    """Looks up where a recipe's phases read tokens; the datasets are opened once.

    In a run under way the later phases' datasets are not made yet: such a phase has read nothing, which is logged.
    """

    def __init__(self, recipe: Recipe, workspace: Workspace) -> None:
        self._recipe, self._workspace = recipe, data_workspace(recipe, workspace)

    @cached_property
    def _phases(self) -> list[tuple[PlannedPhase, PhaseData]]:
        made = [planned for planned in Plan(self._recipe).phases if self._is_made(planned)]
        return [(planned, open_phase(planned, self._recipe, self._workspace)) for planned in made]

    def _is_made(self, planned: PlannedPhase) -> bool:
        missing = next((blend.dataset for blend in planned.phase.data if not is_made(blend.dataset, self._workspace)), None)
        if missing is not None:
            _log.warning("phase %s: dataset %s is not made yet, so what it will read is not known", planned.phase.name, missing)
        return missing is None

    def of(self, prefix: Path, first_token: int, count: int) -> list[Use]:
        """For each phase that has the dataset: what reads any of `count` tokens of PREFIX.bin from `first_token` on."""
        uses = []
        for planned, data in self._phases:
            if any(source.path.resolve() == prefix.resolve() for source in data.sources):
                samples = samples_with(data, prefix, first_token, count)
                uses.append(Use(planned.phase.name, samples, [planned.first_step + sample // planned.batch for sample in samples]))
        return uses


def is_made(dataset: str, workspace: Workspace) -> bool:
    """Whether a dataset of a recipe is there, be it empty."""
    path = dataset_path(dataset, workspace)
    return bool(dataset_prefixes(path)) or (path / MANIFEST).is_file()
