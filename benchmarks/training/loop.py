"""The share of a step that is neither model nor optimizer: reading, agreeing on an end, metrics, progress bar, TensorBoard.

.venv/bin/python -m benchmarks.training.loop [--steps 40] [--recipe FILE] [--set key=value ...]
.venv/bin/torchrun --nproc-per-node 2 -m benchmarks.training.loop     # as many processes as the recipe wants

The loop, callbacks and reader of `pretrain` on the shape of the tiny recipe and tokens that are made up. Everything outside
`Engine.train_step` counts, by the wall clock of the main rank, in which waiting for others lies too. Held-out evaluation and
checkpoints do not: how often they come, the recipe says.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import CACHE, Result
from megatron_snow.config import Blend, Curve, Phase, Recipe, Workspace, load_recipe
from megatron_snow.datasets import IndexedWriter
from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder
from megatron_snow.training import Plan, Run
from megatron_snow.training.data import BatchReader
from megatron_snow.training.guards import StopSignal
from megatron_snow.training.loop import Callback, StepDone, train
from megatron_snow.training.metrics import MetricsWriter, StepLog
from megatron_snow.training.progress_bar import ProgressBar
from megatron_snow.training.telemetry import Figures
from megatron_snow.training.tracking import open_trackers

_RECIPE = Path(__file__).parents[2] / "examples" / "recipes" / "tiny_cpu.yaml"
_WARM = 3  # steps before counting
MODEL = "model and optimizer"
Seconds = dict[str, float]


class Stopwatch:
    """Seconds by what they went to, step by step."""

    def __init__(self) -> None:
        self.now: Seconds = defaultdict(float)

    def timed(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time is added to `what`."""

        def run(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.now[what] += time.perf_counter() - start

        return run

    def take(self) -> Seconds:
        """What was added since the last call."""
        taken, self.now = dict(self.now), defaultdict(float)
        return taken


class StepSeconds(Callback):
    """The last callback: what a step took, in all and by what."""

    def __init__(self, watch: Stopwatch) -> None:
        self._watch, self._start = watch, time.perf_counter()
        self.steps: list[Seconds] = []

    def on_step(self, done: StepDone) -> None:
        now = time.perf_counter()
        self.steps.append({**self._watch.take(), "step": now - self._start})
        self._start = now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=_RECIPE, help="whose model, batch and precision are taken")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    result = Result("loop", "benchmarks.training", ("megatron-core", "torch", "tensorboardX"))
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        recipe = one_phase(load_recipe(args.recipe, [f"parallel.processes={processes}", *args.set]), args.steps + _WARM)
        steps = measure(recipe, Workspace(Path(folder)))[_WARM:]
    if os.environ.get("RANK", "0") == "0":
        medians = shares(steps)
        for what, seconds in medians.items():
            # No CPU seconds here: beside a model that keeps all cores busy, what matters is how long it waits.
            row = {"wall_seconds": round(seconds, 6), "percent_of_step": round(100 * seconds / medians["step"], 3), "processes": processes}
            result.rows.append({"what": what, **row})
            print("  ".join(f"{key}={value}" for key, value in result.rows[-1].items()), flush=True)
        result.save()


def one_phase(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with its first phase alone, of so many steps, over one dataset."""
    tokens = steps * recipe.batch_size(recipe.phases[0]) * recipe.model.seq_length
    phase = Phase("benchmark", (Blend("general"),), tokens, lr=Curve("constant", 1e-4))
    return dataclasses.replace(recipe, phases=(phase,))


def measure(recipe: Recipe, workspace: Workspace) -> list[Seconds]:
    """Seconds of each step by what they went to; called by each rank, each with a folder of its own."""
    write_tokens(workspace, recipe)
    plan, watch = Plan(recipe), Stopwatch()
    run = Run(recipe, workspace, workspace, workspace.tokenizer_model, plan, 0, plan.steps)
    engine, reader = Engine(recipe, build_snowcoder(recipe)), BatchReader(recipe, workspace)
    with callbacks_of(engine, run, watch) as callbacks, StopSignal(engine) as signal:
        engine.train_step = watch.timed(MODEL, engine.train_step)  # type: ignore[method-assign]
        reader.read = watch.timed("reading", reader.read)  # type: ignore[method-assign]
        seconds = StepSeconds(watch)
        train(engine, plan, range(1, plan.steps + 1), reader, [*callbacks, seconds], watch.timed("agreeing on an end", signal.requested))
    engine.close()
    return seconds.steps


@contextmanager
def callbacks_of(engine: Engine, run: Run, watch: Stopwatch) -> Iterator[list[Callback]]:
    """What `pretrain` has on this rank, each under the stopwatch."""
    figures = Figures.of(engine, run.recipe)
    callbacks: list[Callback] = []
    trackers = open_trackers(run, 0, None) if engine.is_main else []
    for tracker in trackers:
        tracker.write = watch.timed("of MetricsWriter, TensorBoard", tracker.write)  # type: ignore[method-assign]
    if engine.is_main:
        callbacks = [MetricsWriter(StepLog(run.workspace.metrics, 0, trackers), figures), ProgressBar(run.plan, run.last_step, figures)]
    for callback in callbacks:
        callback.on_step = watch.timed(type(callback).__name__, callback.on_step)  # type: ignore[method-assign]
    yield callbacks
    for each in (*callbacks, *trackers):
        each.close()


def write_tokens(workspace: Workspace, recipe: Recipe) -> None:
    """Random tokens, in documents of about 670 as those of source files: two million, read again where they end."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 1340, 3000).astype(np.int32)
    workspace.tokens("general").mkdir(parents=True)
    with IndexedWriter(workspace.tokens("general") / "Python", np.uint16) as writer:
        writer.append_sequences(rng.integers(0, min(recipe.tokenizer.vocab_size, 2**16), int(lengths.sum()), np.uint16), lengths)


def shares(steps: list[Seconds]) -> Seconds:
    """Medians over the steps: the step, its parts, and `outside`, all of it but model and optimizer."""
    outside = [seconds["step"] - seconds[MODEL] for seconds in steps]
    parts = dict.fromkeys(name for seconds in steps for name in seconds)
    medians = {name: statistics.median(seconds.get(name, 0.0) for seconds in steps) for name in parts}
    return {"step": medians.pop("step"), "outside": statistics.median(outside), **medians}


if __name__ == "__main__":
    main()
