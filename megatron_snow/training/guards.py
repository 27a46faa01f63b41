"""What ends a run early: a loss that is not finite, a signal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

import torch

from megatron_snow.common.errors import UserError, explain_os_error
from megatron_snow.engine import Engine, StepResult
from megatron_snow.training.data import LocalBatch
from megatron_snow.training.phases import Step
from megatron_snow.training.speaking import fall_silent, speaks_for_machine

Value = TypeVar("Value")


def agree(engine: Engine, decide: Callable[[], Value]) -> Value:
    """What `decide` returns on the main rank, on all ranks; its UserError is raised there and ends the others without a word."""
    value: Value | None = None
    message: str | None = None
    if engine.is_main:
        try:
            value = decide()
        except UserError as error:
            message = str(error)
        except OSError as error:  # a full disk, a folder of somebody else's: the other ranks must hear of it too
            message = explain_os_error(error) or str(error)
    value, message = engine.broadcast((value, message))
    if message is not None:
        if engine.is_main:
            raise UserError(message)
        fall_silent()
    return value


def finite_step(engine: Engine, batch: LocalBatch, step: Step) -> StepResult:
    """`engine.train_step`; where loss or gradient is not finite, one message with the step's samples and an end.

    The engine refuses such an update on all ranks alike, so all end in the same step, the weights are
    those of the step before, and nothing is written or saved.
    """
    try:
        mask, documents = (None if part is None else torch.from_numpy(part) for part in (batch.mask, batch.documents))
        return engine.train_step(torch.from_numpy(batch.tokens), step.learning_rate, mask, documents)
    except FloatingPointError as error:
        if not engine.is_main:
            fall_silent()
        phase, samples = step.phase, step.samples
        rates = "points" if phase.lr.shape == "piecewise" else f"peak ({phase.lr.peak:g})"
        raise UserError(
            f"step {step.number}: {error}; samples {samples.start} to {samples.stop - 1} of phase {phase.name} were in the batch, "
            f"`megatron-snow show-batch --step {step.number}` prints them; lower phases.{phase.name}.lr.{rates} "
            f"or training.optimizer.clip_grad ({engine.recipe.training.optimizer.clip_grad:g}) and start again"
        ) from None


class StopSignal:
    """SIGTERM, SIGINT and SIGUSR1 (Slurm's, before the wall time) ask for an end after the step at hand; each may come more than once."""

    _NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._received = False

    def requested(self) -> bool:
        """Whether any rank was asked: the machine that is told to end need not be the first; the same answer on all."""
        return self._engine.any_rank(self._received)

    def __enter__(self) -> StopSignal:
        self._before = {number: signal.signal(number, self._note) for number in self._NUMBERS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if speaks_for_machine() and not self._received:
            print(f"\n{signal.Signals(number).name}: finishing the step, then saving", file=sys.stderr, flush=True)
        self._received = True
