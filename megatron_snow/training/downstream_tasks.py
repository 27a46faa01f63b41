"""Which checkpoints are evaluated on which benchmarks while training goes on."""

from __future__ import annotations

from dataclasses import dataclass

from megatron_snow.common.records import read_json_lines
from megatron_snow.config import Downstream, benchmark_label
from megatron_snow.training.phases import Step
from megatron_snow.training.run import Run

_SETTLED = ("done", "skipped")  # what is neither is tried again by the next start


@dataclass(frozen=True)
class Task:
    """A benchmark on a checkpoint."""

    step: Step
    benchmark: str

    @property
    def label(self) -> str:
        return benchmark_label(self.benchmark)

    def __str__(self) -> str:
        return f"step {self.step.number:,} on {self.label}"


def is_due(step: Step, settings: Downstream) -> bool:
    """Whether the checkpoint of a step is evaluated."""
    return (settings.phase_ends and step.is_phase_end) or (settings.every > 0 and step.number % settings.every == 0)


def undone(run: Run, done: int) -> list[Task]:
    """What was not evaluated of the checkpoints up to step `done` that are still there, oldest first."""
    path, settings = run.workspace.downstream_metrics, run.recipe.evaluation.downstream
    lines = read_json_lines(path) if path.is_file() else ()
    settled = {(line["step"], line["benchmark"]) for line in lines if line["status"] in _SETTLED}
    steps = [run.plan.step(number) for number in run.store.steps() if 1 <= number <= min(done, run.plan.steps)]
    tasks = [Task(step, name) for step in steps if is_due(step, settings) for name in run.recipe.downstream_benchmarks]
    return [task for task in tasks if (task.step.number, task.label) not in settled]
