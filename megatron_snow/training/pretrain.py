"""A training run put together: engine, checkpoint to go on from, callbacks, loop. Run by each rank."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from megatron_snow.checkpoint import Checkpoint
from megatron_snow.common.locks import FolderLock
from megatron_snow.config import Recipe, Workspace, save_recipe
from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder
from megatron_snow.training.changes import record_changes
from megatron_snow.training.data import BatchReader
from megatron_snow.training.divergence import DivergenceWatch
from megatron_snow.training.downstream import DownstreamEvaluation
from megatron_snow.training.environment import write_environment
from megatron_snow.training.guards import StopSignal, agree
from megatron_snow.training.held_out import HeldOutEvaluation
from megatron_snow.training.loop import Callback, train
from megatron_snow.training.metrics import MetricsWriter, StepLog
from megatron_snow.training.profiling import profiling
from megatron_snow.training.progress_bar import ProgressBar
from megatron_snow.training.resume import check_unchanged
from megatron_snow.training.run import Run, prepare
from megatron_snow.training.saving import CheckpointSaver
from megatron_snow.training.telemetry import Figures
from megatron_snow.training.telemetry_options import Monitoring
from megatron_snow.training.tracking import open_trackers
from megatron_snow.training.uploading import CheckpointCopier
from megatron_snow.training.verifying import MeanwhileVerification


def pretrain(recipe: Recipe, workspace: Workspace, *, until_phase: str | None = None) -> int:
    """Train the phases of a recipe, or those up to and with `until_phase`; the last finished step.

    Goes on from the newest whole checkpoint in `workspace`. Datasets are those of `workspace`, or of the
    recipe's own workspace where it has none. UserError for whatever the user can mend.
    """
    return pretrain_run(prepare(recipe, workspace, until_phase=until_phase))


def pretrain_run(run: Run, monitoring: Monitoring | None = None) -> int:
    """`pretrain` for a run that was prepared; `monitoring` was checked."""
    if run.is_done:
        return run.done
    engine = Engine(run.recipe, build_snowcoder(run.recipe))
    lock = FolderLock(run.workspace.root, "pretrain")
    try:
        agree(engine, lock.acquire)
        last = _train(run, engine, monitoring or Monitoring())
    finally:
        lock.release()
    engine.close()
    return last


def _train(run: Run, engine: Engine, monitoring: Monitoring) -> int:
    checkpoint = agree(engine, lambda: _newest_whole(run))
    if checkpoint is not None:
        # Step 0 is a model from elsewhere (convert-from-hf): weights alone.
        engine.load(checkpoint.model, optimizer=checkpoint.step > 0)
    if engine.is_main:
        if checkpoint is not None and checkpoint.step:
            for line in record_changes(run.recipe, checkpoint, run.workspace):
                print(line, flush=True)
        save_recipe(run.recipe, run.workspace.root / "recipe.yaml")
    steps = range(checkpoint.step + 1 if checkpoint else 1, run.last_step + 1)
    callbacks = _callbacks(run, engine, steps, checkpoint, monitoring)
    with ExitStack() as stack:
        for callback in reversed(callbacks):  # closed in the list's order, each of them whatever another's close raises
            stack.callback(callback.close)
        with StopSignal(engine) as signal:
            return train(engine, run.plan, steps, BatchReader(run.recipe, run.data), callbacks, signal.requested)


def _newest_whole(run: Run) -> Checkpoint | None:
    checkpoint = run.store.latest(weights=run.recipe.training.verify_checkpoints == "before")
    if checkpoint is not None:
        check_unchanged(run.recipe, checkpoint, run.data, run.tokenizer_model)
    return checkpoint


def _callbacks(run: Run, engine: Engine, steps: range, checkpoint: Checkpoint | None, monitoring: Monitoring) -> list[Callback]:
    """In this order: a checkpoint comes after the lines that lead to it."""
    known_data = checkpoint.state.get("data", {}) if checkpoint else {}
    figures = Figures.of(engine, run.recipe)
    training = run.recipe.training
    late = checkpoint if training.verify_checkpoints == "meanwhile" else None
    verification = [MeanwhileVerification(engine, late, training)] if late else []
    if not engine.is_main:
        return [
            HeldOutEvaluation(engine, run, None),
            *verification,
            CheckpointSaver(engine, run, [], known_data),
            *profiling(engine, run, steps, monitoring),
        ]
    print(figures.peak, flush=True)
    write_environment(run.workspace.root, engine, figures.peak)
    done = steps.start - 1
    trackers = open_trackers(run, done, monitoring.wandb)
    metrics, held_out = (StepLog(path, done, trackers) for path in (run.workspace.metrics, run.workspace.held_out_metrics))
    downstream = [DownstreamEvaluation(run, done, trackers)] if run.recipe.evaluation.downstream.enabled else []
    copies = [CheckpointCopier(run.store, training)] if training.checkpoint_copy else []
    return [
        MetricsWriter(metrics, figures),
        DivergenceWatch(run.workspace.metrics),
        ProgressBar(run.plan, run.last_step, figures),
        HeldOutEvaluation(engine, run, held_out),
        *verification,
        CheckpointSaver(
            engine,
            run,
            [metrics, held_out],
            known_data,
            _in_use(*downstream, *copies),
            record=StepLog(run.workspace.saves, done),
            committed=[copier.look for copier in copies],
        ),
        *copies,
        *downstream,
        *trackers,
        *profiling(engine, run, steps, monitoring),
    ]


def _in_use(*readers: DownstreamEvaluation | CheckpointCopier) -> Callable[[], set[int]]:
    """The steps of the checkpoints that somebody reads."""
    return lambda: set[int]().union(*(reader.steps_in_use() for reader in readers))
