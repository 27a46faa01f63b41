"""Scores of checkpoints while training goes on: the recipe's commands in the background, one evaluation at a time.

Training never waits for one, but at its very end. What is waiting when a newer checkpoint comes is skipped, and said to be: a queue
would only grow where evaluating takes longer than the interval, and hold its checkpoints on the disk. Ends of phases are never
skipped; they are few, and kept for ever. What a broken-off run left undone is done by the next start.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from megatron_snow.common.divergence import partings
from megatron_snow.common.errors import UserError
from megatron_snow.common.locks import FolderLock
from megatron_snow.common.processes import interrupted_by_sigterm
from megatron_snow.common.progress import say
from megatron_snow.common.records import read_json, read_json_lines
from megatron_snow.config import Downstream
from megatron_snow.training.downstream_child import Child, environment_of, fill_in
from megatron_snow.training.downstream_tasks import Task, is_due, undone
from megatron_snow.training.loop import Callback, StepDone
from megatron_snow.training.metrics import StepLog
from megatron_snow.training.phases import Step
from megatron_snow.training.run import Run
from megatron_snow.training.tracking import Tracker, open_trackers

_POLL_SECONDS = 0.2


class DownstreamEvaluation(Callback):
    """Of the main rank, after the checkpoint's own callback. Results are lines of downstream.jsonl."""

    def __init__(self, run: Run, done: int, trackers: Sequence[Tracker] = ()) -> None:
        """`done`: the step that the run goes on from; lines after it are forgotten."""
        self._run, self._trackers, self._is_through = run, trackers, False
        self._log = StepLog(run.workspace.downstream_metrics, done)
        self._waiting = deque(undone(run, done))
        self._running: tuple[Task, Child] | None = None

    def steps_in_use(self) -> set[int]:
        """Checkpoints that must stay."""
        return {task.step.number for task in self._left()}

    def on_step(self, done: StepDone) -> None:
        if is_due(done.step, self._settings):
            self._add(done.step)
        if not done.stopping:
            self._advance()
        self._is_through = done.step.number >= self._run.last_step and not done.stopping

    def close(self) -> None:
        """Wait where the run is through; else end what runs."""
        try:
            if self._is_through and self._settings.wait:
                self.wait()
            if told := ", ".join(map(str, self._left())):
                print(f"evaluation of {told}: not done; the same command again does it", file=sys.stderr, flush=True)
        finally:
            if self._running is not None:
                self._running[1].kill()
            self._log.close()

    @property
    def _settings(self) -> Downstream:
        return self._run.recipe.evaluation.downstream

    def _left(self) -> list[Task]:
        """What runs, then what waits."""
        return [*([self._running[0]] if self._running else []), *self._waiting]

    def _add(self, step: Step) -> None:
        """The newest goes in; what waits gives way unless a phase ends there or its checkpoint is being evaluated."""
        begun = self._running[0].step if self._running else None
        for task in [task for task in self._waiting if not task.step.is_phase_end and task.step != begun]:
            self._waiting.remove(task)
            self._write(task, 0.0, {"status": "skipped", "reason": f"step {step.number} was saved before its turn came"})
        self._waiting.extend(Task(step, name) for name in self._run.recipe.downstream_benchmarks)

    def _advance(self) -> None:
        """Take in what has ended, start what is next. A system call where one runs, nothing where none waits."""
        if self._running is not None and (code := self._running[1].poll()) is not None:
            (task, child), self._running = self._running, None
            self._end(task, child.seconds, code)
        if self._running is None and self._waiting:
            saved = self._run.store.steps()
            while self._waiting and (step := self._waiting[0].step.number) not in saved and any(later > step for later in saved):
                self._write(self._waiting.popleft(), 0.0, {"status": "skipped", "reason": "its checkpoint was not saved"})
            if self._waiting and self._waiting[0].step.number in saved:
                self._begin(self._waiting.popleft())

    def _begin(self, task: Task) -> None:
        result, log = self._files(task)
        try:
            result.parent.mkdir(parents=True, exist_ok=True)
            result.unlink(missing_ok=True)  # of an attempt before: what is read must be new
            commands = fill_in(self._settings.commands, self._places(task))
            self._running = task, Child(commands, log, environment_of(self._settings))
        except (OSError, TypeError, ValueError, LookupError) as error:  # all but the first: a format like {result:d}
            self._write(task, 0.0, {"status": "failed", "reason": str(error)})

    def _end(self, task: Task, seconds: float, code: int) -> None:
        result, log = self._files(task)
        outcome = {"status": "failed", "reason": f"exit code {code}; see {log}"} if code else _outcome(result, log)
        if not any(other.step == task.step for other in self._waiting):  # the converted model: as large as the weights
            for folder in result.parent.glob("huggingface*"):
                shutil.rmtree(folder, ignore_errors=True)
        self._write(task, seconds, outcome)

    def _files(self, task: Task) -> tuple[Path, Path]:
        """(result, log) of a task."""
        folder = self._run.workspace.downstream(task.step.number)
        return folder / f"{task.label}.json", folder / f"{task.label}.log"

    def _places(self, task: Task) -> dict[str, object]:
        settings = self._run.recipe.evaluation
        return {
            "python": sys.executable,
            "checkpoint": self._run.store.folder(task.step.number),
            "step": task.step.number,
            "folder": self._run.workspace.downstream(task.step.number),
            "benchmark": task.benchmark,
            "result": self._files(task)[0],
            "limit": settings.downstream.limit,
            "max_new_tokens": settings.max_new_tokens,
            "timeout": settings.timeout_seconds,
        }

    def _write(self, task: Task, seconds: float, outcome: dict[str, Any]) -> None:
        step, checkpoint = task.step, self._run.store.folder(task.step.number)
        line = {"step": step.number, "tokens": step.total_tokens, "phase": step.phase.name, "benchmark": task.label}
        line |= {"pass_at_1": None, "n": 0, "seconds": round(seconds, 1)}
        line |= {"checkpoint": str(checkpoint.relative_to(self._run.workspace.root)), **outcome}
        self._log.write(line)
        _tell(task, line)
        if line["status"] == "done":
            for tracker in self._trackers:
                tracker.write(
                    "downstream", {"step": step.number, "tokens": step.total_tokens, "pass_at_1": {task.label: line["pass_at_1"]}}
                )
            self._tell_partings(task)

    def _tell_partings(self, task: Task) -> None:
        held_out, downstream = (
            list(read_json_lines(path)) if path.is_file() else []
            for path in (self._run.workspace.held_out_metrics, self._run.workspace.downstream_metrics)
        )
        for parting in partings(held_out, downstream):
            if (parting.last_step, parting.benchmark) == (task.step.number, task.label):
                say(f"DIVERGENCE: {parting}")

    def wait(self) -> None:
        """Until nothing is left, or a signal comes that ends a run: what is left then is for the next start."""
        self._advance()
        if self._running is None:
            return
        with suppress(KeyboardInterrupt), interrupted_by_sigterm(signal.SIGUSR1):
            print(f"waiting for the evaluation of {', '.join(map(str, self._left()))}; Ctrl-C leaves it undone", flush=True)
            while self._running is not None:
                time.sleep(_POLL_SECONDS)
                self._advance()


def _outcome(result: Path, log: Path) -> dict[str, Any]:
    """What the file of a result says: {status, pass_at_1, problems}, and a reason where it was not run."""
    try:
        read = read_json(result)
        if read["status"] == "done":
            score, count = float(read["pass_at_1"]), int(read["problems"])
            if not (0 <= score <= 1 and count > 0):
                raise ValueError(f"pass_at_1 {score} of {count} problems")
            return {"pass_at_1": score, "n": count, "status": "done"}
        return {"status": str(read["status"]), "reason": str(read.get("reason", ""))}
    except (OSError, UserError, KeyError, TypeError, ValueError) as error:
        return {"status": "failed", "reason": f"{result} is no result ({type(error).__name__}: {error}); see {log}"}


def _tell(task: Task, line: dict[str, Any]) -> None:
    if line["status"] == "done":
        score, took = f"{100 * line['pass_at_1']:.1f} % of {line['n']} problems", f"{line['seconds']:.0f} s"
        say(f"evaluation of {task}: pass@1 {score}, {took}")
    elif line["status"] == "failed":
        say(f"WARNING: evaluation of {task} failed, training goes on: {line['reason']}", error=True)
    else:
        say(f"evaluation of {task}: {line['status']}: {line['reason']}")


def evaluate_undone(run: Run, wandb_project: str | None = None) -> None:
    """For a run whose steps are all done: what its evaluations were not, if anything; UserError where another run has the folder."""
    if not undone(run, run.done):
        return
    with FolderLock(run.workspace.root, "pretrain"), ExitStack() as stack:
        trackers = open_trackers(run, run.done, wandb_project)
        evaluation = DownstreamEvaluation(run, run.done, trackers)
        for callback in (*trackers, evaluation):
            stack.callback(callback.close)
        evaluation.wait()
