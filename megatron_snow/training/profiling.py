"""Looking into some steps: torch's profiler, and a record of what was allocated on a GPU. Each rank writes files of its own."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from megatron_snow.common.progress import say
from megatron_snow.engine import Engine
from megatron_snow.training.loop import Callback, StepDone
from megatron_snow.training.run import Run
from megatron_snow.training.telemetry_options import Monitoring

_ROWS = 40  # operations of the table
_EVENTS = 1_000_000  # allocations that the record keeps, the newest; about 1 GB in a snapshot at the most


class StepWindow(Callback):
    """Something that is switched on before the first of some steps and off after the last, or where the loop ends before."""

    def __init__(self, wanted: range, steps: range) -> None:
        """`steps`: those that the loop will do; of `wanted`, what is done already is left out."""
        self._first, self._last = max(wanted.start, steps.start), wanted.stop - 1
        self._name = f"steps-{self._first}-{self._last}"
        self._on = False
        if self._first == steps.start and self._first <= self._last:
            self._switch(True)

    def on_step(self, done: StepDone) -> None:
        if self._on and done.step.number == self._last:
            self._switch(False)
        elif not self._on and done.step.number == self._first - 1 and self._first <= self._last and not done.stopping:
            self._switch(True)

    def close(self) -> None:
        if self._on:
            self._switch(False)

    def _switch(self, on: bool) -> None:
        self._on = on
        (self.start if on else self.stop)()

    def start(self) -> None:
        """Begin to record."""
        raise NotImplementedError

    def stop(self) -> None:
        """End, and write what was recorded."""
        raise NotImplementedError


class Profiler(StepWindow):
    """A Chrome trace (ui.perfetto.dev reads it) and a table of the operations by their own time, of this rank."""

    def __init__(self, folder: Path, rank: int, wanted: range, steps: range) -> None:
        self._folder, self._rank = folder, rank
        super().__init__(wanted, steps)

    def start(self) -> None:
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        self._profile = profile(activities=activities, record_shapes=True, profile_memory=True)
        self._profile.start()

    def stop(self) -> None:
        self._profile.stop()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self._name}-rank-{self._rank}"
        self._profile.export_chrome_trace(f"{path}.json.gz")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        table = self._profile.key_averages().table(sort_by=f"self_{device}_time_total", row_limit=_ROWS)
        path.with_suffix(".txt").write_text(table, encoding="utf-8")
        if self._rank == 0:
            say(f"profile: {path}.json.gz and .txt")


class MemorySnapshot(StepWindow):
    """What was allocated on this rank's GPU, when and by which line (pytorch.org/memory_viz reads it). Not run on a GPU yet.

    A run that dies of too little memory writes it as well.
    """

    def __init__(self, folder: Path, rank: int, wanted: range, steps: range) -> None:
        self._folder, self._rank = folder, rank
        super().__init__(wanted, steps)

    def start(self) -> None:
        torch.cuda.memory._record_memory_history(max_entries=_EVENTS)

    def stop(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        torch.cuda.memory._dump_snapshot(str(self._folder / f"{self._name}-rank-{self._rank}.pickle"))
        torch.cuda.memory._record_memory_history(enabled=None)


def profiling(engine: Engine, run: Run, steps: range, monitoring: Monitoring) -> list[Callback]:
    """The callbacks that were asked for, on every rank; last in the list, so that their steps begin and end with the loop's."""
    kinds = ((Profiler, monitoring.profile), (MemorySnapshot, monitoring.memory_snapshot))
    return [kind(run.workspace.profile, engine.rank, wanted, steps) for kind, wanted in kinds if wanted is not None]
