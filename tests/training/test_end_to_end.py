"""Training in real processes: broken off by SIGKILL and resumed, it ends bit for bit where an unbroken run ends."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.common.records import read_json_lines
from megatron_snow.config import Workspace, load_recipe, save_recipe
from megatron_snow.training import Plan
from megatron_snow.training.telemetry import TIMED

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def command(run, output: Path, *options: str, launcher: list[str] | None = None) -> list[str]:  # type: ignore[no-untyped-def]
    start = [sys.executable, *(launcher or []), "-m", "megatron_snow", "pretrain"]
    return [*start, "--recipe", str(run.recipe), "--output", str(output), *options]


def train(run, output: Path, *options: str, launcher: list[str] | None = None) -> subprocess.CompletedProcess[str]:  # type: ignore[no-untyped-def]
    return subprocess.run(
        command(run, output, *options, launcher=launcher), env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False
    )


def kill_after(run, output: Path, step: int, number: signal.Signals, **options: Any) -> subprocess.Popen[str]:  # type: ignore[no-untyped-def]
    """Start training and, once a checkpoint of `step` or later is committed, send the signal to all its processes."""
    process = subprocess.Popen(command(run, output, **options), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    store = CheckpointStore(Workspace(output).checkpoints, 2)
    while not any(saved >= step for saved in store.steps()):  # on a busy machine the first may be gone again
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    # torchrun's ranks lead sessions of their own, so a process group would miss them; its own end comes first, or it would tell them.
    for member in [process, *psutil.Process(process.pid).children(recursive=True)]:
        with suppress(ProcessLookupError):
            os.kill(member.pid, number)
    return process


def lines(path: Path) -> list[dict[str, Any]]:
    """Without what the clock decides."""
    return [{name: value for name, value in line.items() if name not in TIMED} for line in read_json_lines(path)]


def assert_same_end(unbroken: Path, resumed: Path) -> None:
    from megatron_snow.engine import read_model

    for name in ("metrics.jsonl", "held_out.jsonl"):
        assert lines(unbroken / name) == lines(resumed / name)
    ends = [CheckpointStore(Workspace(output).checkpoints, 2).at(8) for output in (unbroken, resumed)]
    assert ends[0].state == ends[1].state
    first, second = (read_model(end.model) for end in ends)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def unbroken(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[no-untyped-def]
    output = tmp_path_factory.mktemp("unbroken")
    result = train(tiny_run, output)
    assert result.returncode == 0, result.stderr
    return output


def test_what_a_run_leaves(tiny_run, unbroken: Path) -> None:  # type: ignore[no-untyped-def]
    plan = Plan(load_recipe(tiny_run.recipe))
    metrics = list(read_json_lines(unbroken / "metrics.jsonl"))
    assert [line["step"] for line in metrics] == list(range(1, 9))
    assert [line["tokens"] for line in metrics] == [128 * step for step in range(1, 9)]
    assert [line["phase"] for line in metrics] == ["first"] * 5 + ["second"] * 3
    assert [line["lr"] for line in metrics] == [plan.step(step).learning_rate for step in range(1, 9)]
    assert all(line["tokens_per_second"] > 0 and line["grad_norm"] > 0 for line in metrics)
    assert all(0 < line["data_wait"] < 1 and line["mfu_full"] >= line["mfu_causal"] >= 0 for line in metrics)
    assert metrics[0]["loss"] == pytest.approx(math.log(1024), abs=1.0)
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    held_out = list(read_json_lines(unbroken / "held_out.jsonl"))
    assert [(line["phase"], line["step"]) for line in held_out] == [("first", 5), ("second", 8)]
    for line in held_out:
        assert line["losses"].keys() == {"Python", "C"}
        assert 3 < line["losses"]["Python"] < 7
        assert 1 < line["bits_per_byte"]["humaneval"] < 8
    store = CheckpointStore(Workspace(unbroken).checkpoints, 2)
    assert store.steps() == [5, 6, 8]  # the two newest, and the ends of both phases
    assert {path.name for path in store.folder(8).iterdir()} == {
        "model", "state.yaml", "recipe.yaml", "environment.yaml", "tokenizer.model", "manifest.json", "COMMITTED",
    }  # fmt: skip
    assert store.at(8).state["samples"] == 32


def test_same_command_again_does_nothing(tiny_run, unbroken: Path) -> None:  # type: ignore[no-untyped-def]
    before = (unbroken / "metrics.jsonl").read_bytes()
    result = train(tiny_run, unbroken)
    assert result.returncode == 0
    assert "nothing to do: step 8 of 8 is done" in result.stdout
    assert (unbroken / "metrics.jsonl").read_bytes() == before


def test_killed_resumed_damaged_and_resumed_equals_unbroken(tiny_run, unbroken: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """SIGKILL after step 2; on to the end of the first phase; damage that checkpoint: it falls back to step 4 and goes on."""
    process = kill_after(tiny_run, tmp_path, 2, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    result = train(tiny_run, tmp_path, "--until-phase", "first")
    assert result.returncode == 0, result.stderr
    shard = next(Workspace(tmp_path).checkpoints.glob("step-00000005/model/*.distcp"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 4
    shard.write_bytes(content)
    result = train(tiny_run, tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"WARNING: damaged checkpoint: {shard}" in result.stderr
    assert_same_end(unbroken, tmp_path)


def test_signal_finishes_the_step_saves_and_says_how_to_go_on(tiny_run, unbroken: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    process = kill_after(tiny_run, tmp_path, 2, signal.SIGTERM)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    stopped = CheckpointStore(Workspace(tmp_path).checkpoints, 2).steps()[-1]
    assert f"stopped after step {stopped} of 8, saved; the same command goes on" in output
    assert lines(tmp_path / "metrics.jsonl") == lines(unbroken / "metrics.jsonl")[:stopped]


def test_loss_that_is_not_finite_stops_before_anything_is_saved(tiny_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    result = train(tiny_run, tmp_path, "--set", "phases.first.lr.peak=1.0e+38", "training.save_interval=1")
    assert result.returncode == 2
    *_, message = result.stderr.strip().splitlines()
    assert message.startswith("error: step 3")
    assert "samples 8 to 11 of phase first" in message
    assert "Traceback" not in result.stderr
    assert CheckpointStore(Workspace(tmp_path).checkpoints, 2).steps()[-1] == 2
    assert all(math.isfinite(line["loss"]) for line in read_json_lines(tmp_path / "metrics.jsonl"))


def test_weights_from_elsewhere_start_a_run(tiny_run, unbroken: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A checkpoint of step 0 holds weights alone, as convert-from-hf leaves it; another seed is no change of a past."""
    from megatron_snow.engine import read_model, write_model

    recipe = load_recipe(tiny_run.recipe, ["seed=1"])
    tensors = read_model(CheckpointStore(Workspace(unbroken).checkpoints, 2).at(8).model)

    def write(folder: Path) -> None:
        write_model(folder / "model", tensors, recipe.model, recipe.tokenizer.vocab_size)
        save_recipe(recipe, folder / "recipe.yaml")

    CheckpointStore(Workspace(tmp_path).checkpoints, 2).save(0, write, {}, keep_forever=True)
    result = train(tiny_run, tmp_path, "--until-phase", "first")
    assert result.returncode == 0, result.stderr
    began, fresh = (next(read_json_lines(output / "metrics.jsonl")) for output in (tmp_path, unbroken))
    assert began["step"] == 1
    assert began["loss"] < fresh["loss"] - 0.2


def test_two_runs_cannot_share_a_folder(tiny_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from megatron_snow.common.errors import UserError
    from megatron_snow.common.locks import FolderLock

    lock = FolderLock(tmp_path, "pretrain")
    lock.acquire()
    with pytest.raises(UserError, match=f"another run \\(process {os.getpid()} on "):
        FolderLock(tmp_path, "pretrain").acquire()
    lock.release()
    FolderLock(tmp_path, "pretrain").acquire()


def test_two_processes_killed_and_resumed_equal_two_unbroken(tiny_run, unbroken: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """And they see the same samples as one process: losses differ by the order of additions alone."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    result = train(tiny_run, whole, launcher=TWO)
    assert result.returncode == 0, result.stderr
    kill_after(tiny_run, broken, 2, signal.SIGKILL, launcher=TWO).communicate()
    assert CheckpointStore(Workspace(broken).checkpoints, 2).steps()[-1] < 8
    assert train(tiny_run, broken, launcher=TWO).returncode == 0
    assert_same_end(whole, broken)
    one, two = (lines(output / "metrics.jsonl") for output in (unbroken, whole))
    assert [line["loss"] for line in one] == pytest.approx([line["loss"] for line in two], abs=1e-4)
    assert json.dumps([line["lr"] for line in one]) == json.dumps([line["lr"] for line in two])
