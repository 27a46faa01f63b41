"""A checkpoint's digests checked while the run already goes on from it (training.verify_checkpoints: meanwhile)."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from megatron_snow.checkpoint import Checkpoint, DamagedCheckpoint
from megatron_snow.checkpoint.integrity import unseal, verify
from megatron_snow.common.errors import UserError
from megatron_snow.config import Training
from megatron_snow.engine import Engine
from megatron_snow.training.guards import agree
from megatron_snow.training.loop import Callback, StepDone
from megatron_snow.training.saving import is_saved


class MeanwhileVerification(Callback):
    """Before the first save all ranks wait for the answer, so that nothing is saved that came from damaged weights.

    On every rank, before the saver in the list; the main one reads. UserError ends the run where the checkpoint is damaged, which
    has lost its marker then: the same command again goes on from the one before it.
    """

    def __init__(self, engine: Engine, checkpoint: Checkpoint, training: Training) -> None:
        self._engine, self._training = engine, training
        self._checkpoint: Checkpoint | None = checkpoint
        self._thread = ThreadPoolExecutor(1, "verify")
        self._answer: Future[Any] | None = self._thread.submit(verify, checkpoint.path) if engine.is_main else None

    def on_step(self, done: StepDone) -> None:
        """Ask before a save, once."""
        if self._checkpoint is not None and is_saved(done, self._training):
            agree(self._engine, self._ask)
            self._checkpoint = None

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=True)

    def _ask(self) -> None:
        assert self._answer is not None
        assert self._checkpoint is not None
        try:
            self._answer.result()
        except DamagedCheckpoint as error:
            unseal(self._checkpoint.path)
            raise UserError(
                f"{error}; found after the run had gone on from it, nothing was saved since: run the same command again"
            ) from error
