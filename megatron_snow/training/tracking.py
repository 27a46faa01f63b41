"""Who else hears of a run: TensorBoard where it is installed, Weights & Biases where it is asked for. Everything over tokens.

A tracker gets each line of metrics.jsonl, held_out.jsonl and their like. After a resume it shows no step twice and none of a
future that was forgotten.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megatron_snow.config import recipe_to_dict
from megatron_snow.training.loop import Callback
from megatron_snow.training.run import Run

_AXES = ("step", "tokens")
_FLUSH_SECONDS = 10.0  # event files are forced to the disk, which takes milliseconds; a page that shows them asks every 30


class Tracker(Callback):
    """Takes lines; `close`, a callback's, ends it."""

    def write(self, name: str, line: dict[str, Any]) -> None:
        """A line {step, tokens, ...} of the file `name`."""
        raise NotImplementedError

    def flush(self) -> None:
        """Bring to the disk what was written, before a checkpoint counts on it."""


def scalars(name: str, line: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """("metrics/loss", 2.5), ("held_out/losses/Python", 1.9): the numbers of a line by path, without its axes."""
    for key, value in line.items():
        if isinstance(value, dict):
            yield from scalars(f"{name}/{key}", value)
        elif isinstance(value, (int, float)) and key not in _AXES:
            yield f"{name}/{key}", value


class TensorBoard(Tracker):
    """Event files for TensorBoard, a new one each start, which says from where on the ones before do not count."""

    def __init__(self, folder: Path, after_tokens: int) -> None:
        """`after_tokens`: those of the checkpoint that the run goes on from; what was written after them is taken back."""
        # Not torch.utils.tensorboard: it needs TensorBoard whole, with grpcio, to write a file; this is 0.1 MB. And not SummaryWriter
        # of either: its queue and thread cannot say, before a checkpoint counts on it, what has reached the disk.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        folder.mkdir(parents=True, exist_ok=True)
        self._event, self._flushed = event_pb2.Event, time.monotonic()
        self._writer = EventsWriter(str(folder / "events"), f".{time.time_ns()}")  # two starts in one second would write one file
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._writer.write_event(self._event(wall_time=time.time(), step=after_tokens + 1, session_log=start))

    def write(self, name: str, line: dict[str, Any]) -> None:
        event = self._event(wall_time=time.time(), step=line["tokens"])
        for tag, value in scalars(name, line):
            event.summary.value.add(tag=tag, simple_value=value)
        self._writer.write_event(event)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        self._writer.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases(Tracker):
    """A run of Weights & Biases, the same again after a resume. WANDB_MODE=offline keeps it on this machine."""

    def __init__(self, run: Run, project: str, after_step: int) -> None:
        import wandb

        known = run.workspace.root / "wandb" / "run_id"
        known.parent.mkdir(parents=True, exist_ok=True)
        run_id = known.read_text(encoding="utf-8") if after_step and known.is_file() else None
        recipe = recipe_to_dict(run.recipe)
        where = str(run.workspace.root)
        self._run = wandb.init(project=project, name=run.recipe.name, id=run_id, resume="allow", dir=where, config=recipe)
        known.write_text(self._run.id, encoding="utf-8")
        self._step = after_step
        for name in ("metrics", "held_out", "downstream"):
            self._run.define_metric(f"{name}/*", step_metric=f"{name}/tokens")

    def write(self, name: str, line: dict[str, Any]) -> None:
        # W&B takes no step again once it has a later one: what a resumed run does again, with the same numbers, it leaves out.
        # A score comes long after its step: it goes into the newest row, over tokens of its own.
        self._step = max(self._step, line["step"])
        self._run.log({f"{name}/tokens": line["tokens"], **dict(scalars(name, line))}, step=self._step)

    def close(self) -> None:
        self._run.finish()


def open_trackers(run: Run, done: int, wandb_project: str | None) -> list[Tracker]:
    """Of a run that goes on from step `done`; called on the main rank. The network is touched for Weights & Biases alone."""
    trackers: list[Tracker] = []
    if importlib.util.find_spec("tensorboardX") is None:
        print("no TensorBoard files: pip install tensorboardX", flush=True)
    else:
        tokens = run.plan.step(done).total_tokens if done else 0
        trackers.append(TensorBoard(run.workspace.tensorboard, tokens))
    if wandb_project is not None:
        trackers.append(WeightsAndBiases(run, wandb_project, done))
    return trackers
