"""The training loop. What is logged, saved, evaluated or refused is the callbacks' business."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from megatron_snow.engine import Engine
from megatron_snow.training.data import BatchReader
from megatron_snow.training.guards import finite_step
from megatron_snow.training.phases import Plan, Step


@dataclass(frozen=True)
class StepDone:
    """A finished optimizer step, the same on all ranks but for the seconds, which are this rank's own."""

    step: Step
    loss: float  # nats a token, mean over the global batch
    grad_norm: float  # before clipping
    seconds: float  # reading the rows and the step
    data_seconds: float  # of them, those that reading took
    stopping: bool  # the run ends here, for somebody asked for it


class Callback:
    """Something that happens after steps. Called on every rank that has it, in the order of the list."""

    def on_step(self, done: StepDone) -> None:
        """Called after each optimizer step."""

    def close(self) -> None:
        """Called once, however the loop ends."""


def train(
    engine: Engine,
    plan: Plan,
    steps: range,
    reader: BatchReader,
    callbacks: Sequence[Callback],
    stop_requested: Callable[[], bool] = lambda: False,
) -> int:
    """Run the steps with these numbers; the number of the last finished one. Called by each rank.

    `stop_requested` is asked after each step and must say the same on all ranks.
    """
    for number in steps:
        step = plan.step(number)
        if step.is_phase_start and step.phase.optimizer_state == "reset":
            engine.reset_optimizer()
        start = time.perf_counter()
        # Not read ahead in a thread: a core reads 94 to 389 million tokens a second from the page cache (benchmarks/tokens/reading),
        # a GPU trains a 1.3B model on some 54 thousand. `data_seconds` tells where a disk is slower than that.
        batch = reader.read(step, engine.data_rank, engine.data_size)
        waited = time.perf_counter() - start
        result = finite_step(engine, batch, step)
        seconds = time.perf_counter() - start
        done = StepDone(step, result.loss, result.grad_norm, seconds, waited, stop_requested())
        for callback in callbacks:
            callback.on_step(done)
        if done.stopping:
            return number
    return steps.stop - 1
