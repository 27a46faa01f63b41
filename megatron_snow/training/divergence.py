"""Says while training that the loss rises above what it was; `common/divergence.py` has the definition."""

from __future__ import annotations

from pathlib import Path

from megatron_snow.common.divergence import RECENT, WINDOW, LossWatch
from megatron_snow.common.progress import say
from megatron_snow.common.records import read_json_lines
from megatron_snow.training.loop import Callback, StepDone


class DivergenceWatch(Callback):
    """One line where a rise begins. Of the main rank."""

    def __init__(self, metrics: Path) -> None:
        """`metrics`: the lines of the steps so far, so that a resumed run says what an unbroken one says."""
        self._watch = LossWatch()
        for line in read_json_lines(metrics) if metrics.is_file() else ():
            self._watch.add(line)

    def on_step(self, done: StepDone) -> None:
        step = done.step
        line = {"step": step.number, "tokens": step.total_tokens, "phase": step.phase.name, "loss": done.loss}
        if self._watch.add(line) and (rise := self._watch.rise):
            told = f"median of {RECENT} steps {rise.highest:.3f}, of the {WINDOW} before {rise.usual:.3f}"
            say(f"DIVERGENCE: step {step.number:,}: the training loss rises: {told}", error=True)
