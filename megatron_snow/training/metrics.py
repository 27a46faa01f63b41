"""metrics.jsonl (a line a step), held_out.jsonl (a line a phase) and the progress bar."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from megatron_snow.common.files import atomic_file
from megatron_snow.common.progress import progress_bar
from megatron_snow.common.records import read_json_lines
from megatron_snow.training.loop import Callback, StepDone


class StepLog:
    """A JSONL file whose lines carry a `step`. Opened at step N it forgets what was written after N.

    So the file of a run that was killed and resumed holds the lines of an unbroken one.
    """

    def __init__(self, path: Path, after_step: int) -> None:
        lines = list(read_json_lines(path)) if path.is_file() else []
        with atomic_file(path) as file:
            file.writelines(json.dumps(line) + "\n" for line in lines if line["step"] <= after_step)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 closed by close()

    def write(self, line: dict[str, Any]) -> None:
        """Append a line; a reader sees it at once."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Force the lines to the disk, before the checkpoint that counts on them."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class MetricsWriter(Callback):
    """A line a step: all but tokens_per_second is the same whenever the run was broken off."""

    def __init__(self, log: StepLog) -> None:
        self._log = log

    def on_step(self, done: StepDone) -> None:
        step = done.step
        self._log.write(
            {
                "step": step.number,
                "tokens": step.total_tokens,
                "phase": step.phase.name,
                "loss": done.loss,
                "lr": step.learning_rate,
                "grad_norm": done.grad_norm,
                "tokens_per_second": round(step.tokens / done.seconds, 1),
            }
        )


class ProgressBar(Callback):
    """A bar a phase: tokens done, tokens a second, time left, the loss."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._bar: tqdm[Any] | None = None

    def on_step(self, done: StepDone) -> None:
        step = done.step
        if self._bar is None:
            before = (step.number - step.planned.first_step) * step.tokens
            bar = progress_bar(step.planned.steps * step.tokens, label=step.phase.name, unit="tok", initial=before)
            self._bar = self._stack.enter_context(bar)
        self._bar.set_postfix(step=step.number, loss=f"{done.loss:.3f}", refresh=False)
        self._bar.update(step.tokens)
        if step.is_phase_end:  # what follows, an evaluation, has a bar of its own
            self.close()

    def close(self) -> None:
        self._stack.close()
        self._bar = None
