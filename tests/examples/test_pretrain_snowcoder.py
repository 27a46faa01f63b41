"""examples/pretrain_snowcoder.sh in its three forms: bash, torchrun with a number of processes, torchrun literally."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.common.records import read_json_lines
from megatron_snow.config import Workspace

SCRIPT = str(Path(__file__).parents[2] / "examples" / "pretrain_snowcoder.sh")
BASH = ["bash", SCRIPT]
LITERAL = [str(Path(sys.executable).with_name("torchrun")), SCRIPT]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def start(command: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *options], env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("command", [BASH, [sys.executable, "-W", "error", SCRIPT], LITERAL], ids=["bash", "python", "torchrun"])
def test_no_arguments_print_the_usage(command: list[str]) -> None:
    result = start(command)
    assert result.returncode == 0, result.stderr
    assert "usage: bash examples/pretrain_snowcoder.sh --recipe FILE" in result.stdout
    assert "torchrun [--nproc-per-node N] examples/pretrain_snowcoder.sh" in result.stdout


def test_help_is_the_same_for_bash_and_python() -> None:
    texts = [start(command, "--help").stdout for command in (BASH, [sys.executable, SCRIPT])]
    assert texts[0] == texts[1]
    assert "This file" not in texts[0]


def test_bash_refuses_a_recipe_before_torchrun_starts(tiny_run) -> None:  # type: ignore[no-untyped-def]
    result = start(BASH, "--recipe", str(tiny_run.recipe), "--set", "model.num_layer=3")
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 2  # the heading and the one problem
    assert "model.num_layer: unknown key; did you mean num_layers?" in result.stderr


def test_literal_torchrun_says_our_message_first(tiny_run) -> None:  # type: ignore[no-untyped-def]
    result = start([LITERAL[0], "--nproc-per-node", "2", SCRIPT], "--recipe", "no-such-recipe.yaml")
    assert result.returncode == 1  # torchrun's own
    assert result.stderr.count("error: no-such-recipe.yaml: no such recipe") == 1
    assert result.stderr.index("error: no-such-recipe") < result.stderr.index("ChildFailedError")


def test_check_trains_nothing(tiny_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    result = start(BASH, "--recipe", str(tiny_run.recipe), "--output", str(tmp_path / "out"), "--check")
    assert result.returncode == 0
    assert result.stdout.startswith("1 process: 8 steps")
    assert not (tmp_path / "out").exists()


def test_bash_starts_the_recipes_processes_and_a_signal_saves(make_tiny_run: Callable, tmp_path: Path) -> None:  # type: ignore[type-arg]
    """SIGTERM to the script alone: both ranks finish the step and save, exit code 0; literal torchrun goes on from there."""
    run = make_tiny_run(tmp_path)
    run.recipe.write_text(run.recipe.read_text() + "parallel: {processes: 2}\n")
    output = tmp_path / "out"
    options = ["--recipe", str(run.recipe), "--output", str(output)]
    store = CheckpointStore(Workspace(output).checkpoints, 2)
    process = subprocess.Popen([*BASH, *options], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not store.steps():
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGTERM)
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert out.startswith("2 processes: 8 steps")
    stopped = store.steps()[-1]
    assert f"stopped after step {stopped} of 8, saved" in out
    assert len(list((store.folder(stopped) / "model").glob("*.distcp"))) == 2

    result = start(LITERAL, *options)  # one process: the layout may change
    assert result.returncode == 0, result.stderr
    assert "done: step 8 of 8" in result.stdout
    assert [line["step"] for line in read_json_lines(output / "metrics.jsonl")] == list(range(1, 9))
