"""The training wing's steps of a run: phases, conversion, scores, report. Each returns one line of what came out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.common.errors import UserError
from megatron_snow.common.explain import before_running, is_explaining
from megatron_snow.common.records import read_json, read_json_lines, write_json
from megatron_snow.config import Phase, benchmark_label
from megatron_snow.recipe.context import Run
from megatron_snow.recipe.ranks import run_ranks


def train_phase(run: Run, *, phase: Phase) -> str:
    """Train until the end of a phase, in processes of its own: as many as the recipe says, under torchrun."""
    from megatron_snow.training import prepare

    # Checks recipe and data, and starts no processes for a phase that is done.
    planned = prepare(run.recipe, run.workspace, until_phase=phase.name, recipe_file=str(run.recipe_file))
    if planned.done < planned.last_step:
        before_running(f"phase {phase.name}", run.workspace.checkpoints, f"step {planned.done:,} of {planned.last_step:,} is trained")
        _launch(run, phase)
    return _last_step(run, planned.last_step)


def _launch(run: Run, phase: Phase) -> None:
    processes = run.recipe.parallel.processes
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--signals-to-handle", "SIGHUP,SIGQUIT", "--nproc-per-node", str(processes)]
    options = ["--recipe", str(run.recipe_file), "--output", str(run.workspace.root), "--until-phase", phase.name]
    command = [sys.executable, *torchrun, "-m", "megatron_snow", "pretrain", *options]
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)), **os.environ}
    code = run_ranks(command, environment)
    if code:
        raise UserError(
            f"phase {phase.name}: training ended with exit code {code}; its message stands above; mend it and run the same command again"
        )


def _last_step(run: Run, step: int) -> str:
    last = next((record for record in read_json_lines(run.workspace.metrics) if record["step"] == step), None)
    if last is None:
        raise UserError(f"{run.workspace.metrics}: no line of step {step}, though it is trained; restore the file")
    return f"step {last['step']:,}, {last['tokens'] / 1e6:.2f} M tokens, loss {last['loss']:.3f}"


def convert(run: Run) -> str:
    from megatron_snow.conversion import to_huggingface

    check = to_huggingface(run.workspace.checkpoints, run.workspace.huggingface)
    return f"{run.workspace.huggingface}: logits differ by {check.relative_difference:.1e} of the largest"


def evaluate(run: Run, *, benchmark: str) -> str:
    from megatron_snow.evaluation import evaluate as score

    output = run.workspace.evaluation / f"{benchmark_label(benchmark)}.json"
    settings = run.recipe.evaluation
    _take_downstream(run, output)
    score(run.workspace.huggingface, benchmark, output, max_new_tokens=settings.max_new_tokens, timeout_seconds=settings.timeout_seconds)
    result = read_json(output)
    if result["status"] != "done":
        return f"not run: {result['reason']}"
    return f"pass@1 {100 * result['pass_at_1']:.1f} % ({result['passed']} of {result['problems']})"


def _take_downstream(run: Run, output: Path) -> None:
    """What training left of the last checkpoint, as a first guess: `evaluate` keeps it where model, problems and settings are the same."""
    newest = CheckpointStore(run.workspace.checkpoints, keep=1).newest()
    known = run.workspace.downstream(newest.step) / output.name if newest else output
    if known.is_file() and not output.is_file() and not is_explaining():
        write_json(output, read_json(known))


def report(run: Run) -> str:
    from megatron_snow.report import write_report

    if is_explaining():
        return "is written again by every run"
    return str(write_report(run.workspace, run.workspace.report))
