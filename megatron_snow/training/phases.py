"""The plan of a run: which phase, samples, tokens and learning rate each optimizer step has (DESIGN 4).

Everything here is a pure function of the recipe and a step number, which is why a resumed run cannot
differ from an unbroken one. Steps count from 1 over the whole run: metrics of step N and the
checkpoint step-N belong together. Samples count from 0 within their phase.
"""

from __future__ import annotations

from dataclasses import dataclass

from megatron_snow.common.errors import UserError, nearest
from megatron_snow.config import Phase, Recipe
from megatron_snow.datasets import rank_rows
from megatron_snow.training.schedule import learning_rate


@dataclass(frozen=True)
class PlannedPhase:
    """A phase with its place in the run: steps [first_step, last_step]."""

    phase: Phase
    first_step: int
    steps: int
    batch: int  # sequences a step
    seq_length: int
    samples_before: int = 0  # of the phases before it

    @property
    def last_step(self) -> int:
        return self.first_step + self.steps - 1

    @property
    def samples(self) -> int:
        """Sequences that the phase consumes: whole batches, so its tokens are the horizon rounded up."""
        return self.steps * self.batch


@dataclass(frozen=True)
class Step:
    """One optimizer step of a run."""

    number: int  # from 1, over all phases
    planned: PlannedPhase

    @property
    def phase(self) -> Phase:
        return self.planned.phase

    @property
    def is_phase_start(self) -> bool:
        return self.number == self.planned.first_step

    @property
    def is_phase_end(self) -> bool:
        return self.number == self.planned.last_step

    @property
    def samples(self) -> range:
        """The samples of the phase that the global batch is made of."""
        return self.rows(0, 1)

    def rows(self, data_rank: int, data_size: int) -> range:
        """Those of them that a data-parallel rank reads."""
        return rank_rows(self.number - self.planned.first_step, self.planned.batch, data_rank, data_size)

    @property
    def learning_rate(self) -> float:
        return learning_rate(self.phase.lr, self.samples.start * self.planned.seq_length, self.phase.horizon)

    @property
    def tokens(self) -> int:
        """Tokens of the global batch."""
        return self.planned.batch * self.planned.seq_length

    @property
    def total_samples(self) -> int:
        """Samples consumed by the run when this step is done."""
        return self.planned.samples_before + self.samples.stop

    @property
    def total_tokens(self) -> int:
        """Tokens consumed by the run when this step is done."""
        return self.total_samples * self.planned.seq_length


class Plan:
    """All steps of a recipe."""

    def __init__(self, recipe: Recipe) -> None:
        self.phases: list[PlannedPhase] = []
        first, samples = 1, 0
        for phase in recipe.phases:
            planned = PlannedPhase(phase, first, recipe.steps(phase), recipe.batch_size(phase), recipe.model.seq_length, samples)
            self.phases.append(planned)
            first, samples = first + planned.steps, samples + planned.samples
        self.steps = first - 1

    def step(self, number: int) -> Step:
        """The step of that number, from 1 to `steps`; UserError beyond."""
        for planned in self.phases:
            if planned.first_step <= number <= planned.last_step:
                return Step(number, planned)
        ends = ", ".join(f"{planned.phase.name} {planned.first_step}-{planned.last_step}" for planned in self.phases)
        raise UserError(f"step {number}: the recipe has steps 1 to {self.steps} ({ends})")

    def begun(self, number: int) -> list[PlannedPhase]:
        """The phases of which step `number` or one before it is part."""
        return [planned for planned in self.phases if planned.first_step <= number]

    def last_step(self, until_phase: str | None) -> int:
        """Where a run ends: with the recipe, or with the phase of that name; UserError for an unknown name."""
        if until_phase is None:
            return self.steps
        ends = {planned.phase.name: planned.last_step for planned in self.phases}
        if until_phase not in ends:
            raise UserError(f"--until-phase {until_phase}: no such phase{nearest(until_phase, ends)}; the recipe has {', '.join(ends)}")
        return ends[until_phase]

    def between(self, first: int, last: int) -> list[PlannedPhase]:
        """The phases that steps first to last run through."""
        return [planned for planned in self.phases if planned.first_step <= last and planned.last_step >= first]
