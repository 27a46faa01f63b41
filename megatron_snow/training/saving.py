"""When a checkpoint is saved, and what is in it beside the weights."""

from __future__ import annotations

import platform
import shutil
import sys
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from megatron_snow.training.pending_save import PendingSave, on_main
from megatron_snow.training.run import Run
from megatron_snow.training.speaking import fall_silent


def is_saved(done: StepDone, training: Training) -> bool:
    """Whether a checkpoint is saved after a step."""
    return done.step.is_phase_end or done.stopping or done.step.number % training.save_interval == 0


class CheckpointSaver(Callback):
    """Saves every `save_interval` steps, when the run is asked to stop, and, to be kept for ever, at the end of each phase.

    With training.async_save a copy in memory is written by a thread of each rank while training goes on, and committed after the
    first step at which all have written; the end of the run waits for it, and so does the next save. A save that fails is told on
    stderr and training goes on; only the run's last one ends it.
    """

    def __init__(
        self,
        engine: Engine,
        run: Run,
        logs: Sequence[StepLog],
        known_data: dict[str, str],
        in_use: Callable[[], Collection[int]] = lambda: (),
        *,
        record: StepLog | None = None,
        committed: Sequence[Callable[[], object]] = (),
    ) -> None:
        """`in_use`: steps whose checkpoints must stay for now. `record`: a line a save. `committed`: who is told that there is one more."""
        self._engine, self._run, self._logs, self._in_use = engine, run, logs, in_use
        self._record, self._committed = record, committed
        self._data = dict(known_data)  # dataset -> fingerprint, of all phases so far
        self._thread = ThreadPoolExecutor(1, "save") if run.recipe.training.async_save else None
        self._pending: PendingSave | None = None

    def on_step(self, done: StepDone) -> None:
        if not is_saved(done, self._run.recipe.training):
            self._settle(done, wait=False)
            return
        self._settle(done, wait=True)  # one at a time
        ends = done.stopping or done.step.number == self._run.last_step
        try:
            self._begin(done)
            self._settle(done, wait=ends or self._thread is None, must=ends)
        except OSError as error:
            self._lose(done.step.number, error, must=ends)

    def close(self) -> None:
        """Let the thread end; what is not committed by now is removed."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)
        if self._pending is not None and self._engine.is_main:
            self._run.store.abandon(self._pending.step.number)
        if self._record is not None:
            self._record.close()

    def _begin(self, done: StepDone) -> None:
        start = time.perf_counter()
        for log in self._logs:
            log.sync()
        folder = self._run.store.temporary(done.step.number) / "model"
        on_main(self._engine, lambda: self._write_beside(done, folder))
        save = self._engine.begin_save(folder, copy=self._thread is not None)
        self._pending = PendingSave(done.step, save)
        self._pending.stall_seconds = time.perf_counter() - start
        if self._thread is not None:
            self._pending.writing = self._thread.submit(self._pending.write)

    def _settle(self, done: StepDone, *, wait: bool, must: bool = False) -> None:
        """Commit what was begun, if all ranks have written or `wait`; `must`: a failure ends the run."""
        start, pending = time.perf_counter(), self._pending
        if pending is None or (not wait and self._engine.any_rank(not pending.is_written)):
            return
        pending.wait()
        self._pending = None
        try:
            files = pending.save.finish()
            on_main(self._engine, lambda: self._commit(pending, files))
        except (OSError, RuntimeError) as error:
            self._lose(pending.step.number, error, must=must)
            return
        pending.stall_seconds += time.perf_counter() - start
        if self._record is not None:
            self._record.write(pending.line(done.step.number, files))
        for tell in self._committed:
            tell()

    def _commit(self, pending: PendingSave, files: dict[str, tuple[str, int]]) -> None:
        step, every = pending.step, self._run.recipe.training.keep_every
        keep = step.is_phase_end or (every > 0 and step.number % every == 0)
        known = {f"model/{name}": each for name, each in files.items()}
        self._run.store.commit(step.number, keep_forever=keep, in_use=self._in_use(), known=known)

    def _lose(self, step: int, error: Exception, *, must: bool) -> None:
        store = self._run.store
        if self._engine.is_main:
            store.abandon(step)
        if must:
            if not self._engine.is_main:  # the failure reached all ranks, one says it
                fall_silent()
            raise error
        if self._engine.is_main:
            reason = " ".join(str(error).split())
            print(f"WARNING: {store.folder(step)} was not saved: {reason}; training goes on", file=sys.stderr, flush=True)
            if self._record is not None:
                self._record.write({"step": step, "lost": reason})

    def _write_beside(self, done: StepDone, model: Path) -> None:
        """All but the weights."""
        folder = self._run.store.begin(done.step.number, self._state(done))
        model.mkdir()
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
