"""When a checkpoint is saved, and what is in it beside the weights."""

from __future__ import annotations

import errno
import os
import platform
import shutil
from collections.abc import Callable, Collection, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import megatron_snow
from megatron_snow.config import Training, save_recipe
from megatron_snow.engine import Engine
from megatron_snow.tokenizers import load_tokenizer
from megatron_snow.training.data import fingerprints
from megatron_snow.training.environment import FILE as ENVIRONMENT
from megatron_snow.training.loop import Callback, StepDone
from megatron_snow.training.metrics import StepLog
from megatron_snow.training.run import Run
from megatron_snow.training.speaking import fall_silent

# A failed save is put down to a full disk when less than this is left.
_FULL_BYTES = 16 << 20


def is_saved(done: StepDone, training: Training) -> bool:
    """Whether a checkpoint is saved after a step."""
    return done.step.is_phase_end or done.stopping or done.step.number % training.save_interval == 0


class CheckpointSaver(Callback):
    """Saves every `save_interval` steps, when the run is asked to stop, and, to be kept for ever, at the end of each phase."""

    def __init__(
        self,
        engine: Engine,
        run: Run,
        logs: Sequence[StepLog],
        known_data: dict[str, str],
        in_use: Callable[[], Collection[int]] = lambda: (),
    ) -> None:
        """`in_use`: steps whose checkpoints must stay for now."""
        self._engine, self._run, self._logs, self._in_use = engine, run, logs, in_use
        self._data = dict(known_data)  # dataset -> fingerprint, of all phases so far

    def on_step(self, done: StepDone) -> None:
        step, training = done.step, self._run.recipe.training
        if not is_saved(done, training):
            return
        for log in self._logs:
            log.sync()
        self._run.store.save(
            step.number,
            self._write,
            self._state(done),
            keep_forever=step.is_phase_end or (training.keep_every > 0 and step.number % training.keep_every == 0),
            in_use=self._in_use(),
            is_main=self._engine.is_main,
            barrier=self._engine.barrier,
        )

    def _write(self, folder: Path) -> None:
        try:
            self._engine.save(folder / "model")
        except Exception as error:  # torch loses the number of a failed write
            if shutil.disk_usage(folder).free > _FULL_BYTES:
                raise
            if not self._engine.is_main:  # the failure reached all ranks, one says it
                fall_silent()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._run.workspace.checkpoints)) from error
        if self._engine.is_main:
            save_recipe(self._run.recipe, folder / "recipe.yaml")
            shutil.copyfile(self._run.workspace.root / ENVIRONMENT, folder / ENVIRONMENT)
            load_tokenizer(self._run.tokenizer_model, engine="reference").save(folder)

    def _state(self, done: StepDone) -> dict[str, Any]:
        step = done.step
        new = [blend for blend in step.phase.data if blend.dataset not in self._data]
        self._data |= fingerprints(new, self._run.data)
        return {
            "samples": step.total_samples,
            "tokens": step.total_tokens,
            "phase": step.phase.name,
            "order": {  # of the phase, whose sample `next_sample` comes next; a function of the seed
                "seed": self._run.recipe.seed,
                "next_sample": step.samples.stop,
                "samples": step.planned.samples,
                "steps": f"{step.planned.first_step} to {step.planned.last_step}",
            },
            "data": self._data,
            "versions": versions(),
        }


def versions() -> dict[str, str]:
    """What made the weights, for whoever has to make them again."""
    found = {"python": platform.python_version(), "megatron_snow": megatron_snow.__version__}
    for package in ("torch", "megatron-core", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
