"""Training on two hosts by torchrun's plain rendezvous (two_hosts.py says what a host is here)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.common.records import read_json_lines
from megatron_snow.config import Workspace

sys.path.insert(0, str(Path(__file__).parent))
from two_hosts import SCRIPT, Host, start_training, two_hosts, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
SECONDS = 600  # on a busy machine
# Eight steps as before, each so long that a run which is to be killed at the second is not over first.
SLOW_STEPS = ["training.global_batch_size=32", "training.micro_batch_size=1", "phases.first.tokens=5120", "phases.second.tokens=3072"]


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as pair:
        yield pair


@pytest.fixture(scope="module")
def alone(tiny_run: Any, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The metrics of one process on one host."""
    output = tmp_path_factory.mktemp("alone")
    command = ["bash", str(SCRIPT), "--recipe", str(tiny_run.recipe), "--output", str(output), "--set", *SLOW_STEPS]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, capture_output=True, timeout=SECONDS)
    return list(read_json_lines(output / "metrics.jsonl"))


def ends(processes: list[subprocess.Popen[str]], seconds: float = SECONDS) -> list[str]:
    """What both printed."""
    return [process.communicate(timeout=seconds)[0] for process in processes]


def assert_same_run(lines: list[dict[str, Any]], alone: list[dict[str, Any]]) -> None:
    assert [line["step"] for line in lines] == [line["step"] for line in alone] == list(range(1, 9))
    for line, other in zip(lines, alone):
        assert line["loss"] == pytest.approx(other["loss"], rel=2e-6)
        assert line["grad_norm"] == pytest.approx(other["grad_norm"], rel=2e-6)


def wait_for_step(output: Path, step: int, processes: list[subprocess.Popen[str]]) -> None:
    store, deadline = CheckpointStore(Workspace(output).checkpoints, 2), time.monotonic() + SECONDS
    while not any(saved >= step for saved in store.steps()):
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes), ends(processes)
        time.sleep(0.001)


def test_a_killed_host_ends_the_other_and_the_same_command_ends_in_one_hosts_losses(
    hosts: tuple[Host, Host], tiny_run: Any, alone: list[dict[str, Any]], tmp_path: Path
) -> None:
    options = ["--recipe", str(tiny_run.recipe), "--set", "parallel.processes=2", *SLOW_STEPS, "--output", str(tmp_path)]
    processes = start_training(hosts, *options)
    wait_for_step(tmp_path, 2, processes)
    hosts[1].kill()
    told = ends(processes)[0]  # the limit of a collective is 30 minutes: it did not wait for that
    assert processes[0].returncode == 1, told
    assert "error: rank 0 on alpha: another process is gone or does not answer" in told
    assert "the same command goes on from the newest checkpoint" in told

    processes = start_training(hosts, *options)
    told, _ = ends(processes)
    assert [process.returncode for process in processes] == [0, 0], told
    assert "done: step 8 of 8" in told
    assert_same_run(list(read_json_lines(tmp_path / "metrics.jsonl")), alone)


def test_a_host_that_does_not_see_a_dataset_is_named_on_both(hosts: tuple[Host, Host], tiny_run: Any, tmp_path: Path) -> None:
    options = ["--recipe", str(tiny_run.recipe), "--set", "parallel.processes=2", "--output", str(tmp_path)]
    hidden = tiny_run.workspace.tokens("selected")
    processes = start_training(hosts, *options, hidden=hidden)
    for process, told in zip(processes, ends(processes)):
        assert process.returncode == 1
        assert told.count(f"beta (rank 1): {hidden}: dataset 'selected' is missing") == 1, told
        assert "alpha (rank 0):" not in told
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.slow
def test_an_output_folder_that_is_not_shared_is_told(hosts: tuple[Host, Host], tiny_run: Any, tmp_path: Path) -> None:
    options = ["--recipe", str(tiny_run.recipe), "--set", "parallel.processes=2", "--output", str(tmp_path)]
    processes = start_training(hosts, *options, hidden=tmp_path)
    for told in ends(processes):
        assert f"beta (rank 1): {tmp_path}: a file that the first machine wrote there is not seen here" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_pipeline_across_hosts(hosts: tuple[Host, Host], tiny_run: Any, alone: list[dict[str, Any]], tmp_path: Path) -> None:
    """Four processes, two a host: the first stage's two copies on one, the last stage's on the other."""
    layout = ["parallel.processes=4", "parallel.pipeline=2", *SLOW_STEPS]
    processes = start_training(hosts, "--recipe", str(tiny_run.recipe), "--output", str(tmp_path), "--set", *layout)
    told, _ = ends(processes)
    assert [process.returncode for process in processes] == [0, 0], told
    assert_same_run(list(read_json_lines(tmp_path / "metrics.jsonl")), alone)


def test_hosts_must_divide_the_processes(tiny_run: Any) -> None:
    command = ["bash", str(SCRIPT), "--recipe", str(tiny_run.recipe), "--set", "parallel.processes=2", "training.global_batch_size=12"]
    result = subprocess.run(command, env=os.environ | {"NNODES": "3"}, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert result.returncode == 2
    assert "parallel.processes: 2 is not a multiple of NNODES 3" in result.stderr
