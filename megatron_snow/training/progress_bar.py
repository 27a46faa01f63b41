"""The bar of a phase: tokens done, tokens a second, utilisation, time left, the loss."""

from __future__ import annotations

import statistics
from collections import deque
from contextlib import ExitStack
from typing import Any

from tqdm import tqdm

from megatron_snow.common.progress import progress_bar
from megatron_snow.training.loop import Callback, StepDone
from megatron_snow.training.phases import Plan, Step
from megatron_snow.training.telemetry import Figures

_STEPS = 51  # of which the median is taken: an odd one out, the first above all, moves nothing


class Pace:
    """Seconds a token, as the median of the last steps; pauses for evaluation and saving lie between steps and do not count."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_STEPS)

    def add(self, done: StepDone) -> None:
        """Take a step in; batches may differ between phases."""
        self._recent.append(done.seconds / done.step.tokens)

    @property
    def tokens_per_second(self) -> float:
        return 1 / statistics.median(self._recent)

    def left(self, tokens: int) -> float:
        """Seconds that so many tokens will take."""
        return tokens / self.tokens_per_second


def tokens_left(step: Step, plan: Plan, last_step: int) -> tuple[int, int]:
    """After a step: (tokens of its phase, of the run up to `last_step`) still to come."""
    last = min(step.planned.last_step, last_step)
    return (last - step.number) * step.tokens, plan.step(last_step).total_tokens - step.total_tokens


def duration(seconds: float) -> str:
    """ "0:42", "3:07:00", "2d 04:10:00"."""
    days, rest = divmod(round(seconds), 86_400)
    clock = tqdm.format_interval(rest)
    return f"{days}d {clock}" if days else clock


class ProgressBar(Callback):
    """A bar a phase, on the main rank."""

    def __init__(self, plan: Plan, last_step: int, figures: Figures) -> None:
        self._plan, self._last_step, self._figures = plan, last_step, figures
        self._pace, self._stack = Pace(), ExitStack()
        self._bar: tqdm[Any] | None = None

    def on_step(self, done: StepDone) -> None:
        step = done.step
        self._pace.add(done)
        if self._bar is None:
            before = (step.number - step.planned.first_step) * step.tokens
            bar = progress_bar(step.planned.steps * step.tokens, label=step.phase.name, unit="tok", initial=before)
            self._bar = self._stack.enter_context(bar)
            # tqdm's own rate and time left count the pauses.
            self._bar.bar_format = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} tok [{elapsed}{postfix}]"
        self._bar.set_postfix_str(self.text(done), refresh=False)
        self._bar.update(step.tokens)
        if step.is_phase_end:  # what follows, an evaluation, has a bar of its own
            self.close()

    def text(self, done: StepDone) -> str:
        """ "step 12, loss 6.512, 10.2k tok/s, MFU 31.0 % (causal 27.9 %), left 0:41, in all 1:02:00"."""
        rate = self._pace.tokens_per_second
        full, causal = self._figures.utilisation(rate)
        phase, run = (duration(self._pace.left(tokens)) for tokens in tokens_left(done.step, self._plan, self._last_step))
        speed = f"{tqdm.format_sizeof(rate)} tok/s, MFU {full:.1%} (causal {causal:.1%})"
        return f"step {done.step.number}, loss {done.loss:.3f}, {speed}, left {phase}, in all {run}"

    def close(self) -> None:
        self._stack.close()
        self._bar = None
