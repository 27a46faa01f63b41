"""A real run that evaluates its checkpoints: interrupted while it waits it leaves nothing behind; the next start evaluates."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from megatron_snow import sandbox
from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.common.records import read_json, read_json_lines
from megatron_snow.config import Workspace, load_recipe
from megatron_snow.recipe.context import Run as RecipeRun
from megatron_snow.recipe.model_steps import convert, evaluate
from megatron_snow.tasks import load_benchmark

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
SLEEP = "'{python} -c \"import time; time.sleep(600)\" {result}'"


def command(recipe: Path, output: Path, benchmark: Path, *settings: str) -> list[str]:
    common = ["evaluation.downstream.phase_ends=true", f"evaluation.benchmarks=[{benchmark}]", "evaluation.max_new_tokens=4"]
    start = [sys.executable, "-m", "megatron_snow", "pretrain", "--until-phase", "first"]
    return [*start, "--recipe", str(recipe), "--output", str(output), "--set", *common, *settings]


def test_interrupted_while_it_waits_then_evaluated_by_the_next_start(tiny_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    output, benchmark = tmp_path / "run", tmp_path / "three.jsonl"
    problems = load_benchmark("humaneval")[:3]
    benchmark.write_text("".join(json.dumps(vars(problem)) + "\n" for problem in problems))
    (tmp_path / "two").mkdir()
    two = tmp_path / "two" / "three.jsonl"
    two.write_text("".join(json.dumps(vars(problem)) + "\n" for problem in problems[:2]))

    sleeping = command(tiny_run.recipe, output, benchmark, "evaluation.downstream.every=4", f"evaluation.downstream.commands=[{SLEEP}]")
    with subprocess.Popen(sleeping, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            told = "".join(
                itertools.takewhile(lambda line: "waiting for the evaluation of step 4 on three, step 5" not in line, process.stdout)
            )
            assert process.poll() is None, told
            children = psutil.Process(process.pid).children(recursive=True)
            assert len(children) == 1
            process.send_signal(signal.SIGUSR1)  # Slurm's, before the wall time
            rest, errors = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "done: step 5 of 8" in rest
    assert "evaluation of step 4 on three, step 5 on three: not done; the same command again does it" in errors
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert list(read_json_lines(output / "downstream.jsonl")) == []
    assert [line["step"] for line in read_json_lines(output / "held_out.jsonl")] == [4, 5]

    result = subprocess.run(
        command(tiny_run.recipe, output, benchmark, "evaluation.downstream.limit=2"),
        env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    workspace = Workspace(output)
    assert result.returncode == 0, result.stderr
    (line,) = read_json_lines(workspace.downstream_metrics)
    assert (line["step"], line["phase"], line["benchmark"]) == (5, "first", "three")
    usable, _ = sandbox.available()
    assert (line["status"], line["n"]) == (("done", 2) if usable else ("not run", 0)), line
    assert read_json(workspace.downstream(5) / "three.json")["problems"] == 2
    assert not (workspace.downstream(5) / "huggingface").exists()
    assert CheckpointStore(workspace.checkpoints, 2).steps() == [4, 5]
    if usable:
        assert_taken_by_the_recipes_end(workspace, two)


def assert_taken_by_the_recipes_end(workspace: Workspace, benchmark: Path) -> None:
    """The score of the same weights and problems is not taken twice: seconds and all are those of before."""
    run = RecipeRun(load_recipe(workspace.root / "recipe.yaml"), workspace, workspace.root / "recipe.yaml")
    convert(run)
    assert evaluate(run, benchmark=str(benchmark)).endswith("of 2)")
    assert read_json(workspace.evaluation / "three.json") == read_json(workspace.downstream(5) / "three.json")
