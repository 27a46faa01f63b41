"""examples/slurm on a real controller with two nodes of this machine, where Slurm's binaries are (tests/slurm_cluster.py says how)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.common.records import read_json_lines
from megatron_snow.config import Workspace
from tests.slurm_cluster import slurm_cluster, why_not

ROOT = Path(__file__).parents[2]
JOB, CHAIN = "examples/slurm/pretrain.sbatch", "examples/slurm/chain.sh"
STEPS = ["phases.first.tokens=38400", "training.save_interval=40", "evaluation.held_out_sequences=0"]  # 303
SECONDS = 300  # of patience: the machine may be busy
slurm = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm"), nodes=2, requeue_seconds=10) as environment:
        yield environment | {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}", "OMP_NUM_THREADS": "1"}


class Runs:
    """Jobs of one run: what they are given, their logs, how far they are."""

    def __init__(self, environment: dict[str, str], recipe: Path, folder: Path) -> None:
        self.environment = environment | {"RECIPE": str(recipe), "OUTPUT": str(folder / "run")}
        self.folder, self.output = folder, folder / "run"

    def give(self, command: list[str], *options: str) -> list[str]:
        """The numbers of the jobs that a command gives to Slurm."""
        given = subprocess.run([*command, *options], cwd=ROOT, env=self.environment, check=False, capture_output=True, text=True)
        assert given.returncode == 0, given.stderr
        return given.stdout.split()

    def sbatch(self, *options: str, changes: tuple[str, ...] = ()) -> str:
        wanted = ["--nodes=2", f"--output={self.folder}/%j.log", *options]
        return self.give(["sbatch", "--parsable", *wanted, JOB, "--set", "parallel.processes=2", *STEPS, *changes])[0]

    def log(self, job: str) -> str:
        path = self.folder / f"{job}.log"
        return path.read_text() if path.exists() else ""

    def wait(self, condition: Callable[[], Any], job: str, seconds: float = SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log(job)
            time.sleep(0.05)

    def wait_for_end(self, job: str) -> str:
        """The log of a job that is out of the queue."""

        def gone() -> bool:
            return job not in subprocess.check_output(["squeue", "--noheader", "--format=%i"], env=self.environment, text=True).split()

        self.wait(gone, job)
        return self.log(job)

    def saved(self) -> int:
        return max(CheckpointStore(Workspace(self.output).checkpoints, 2).steps(), default=0)

    def losses(self) -> list[tuple[Any, ...]]:
        return [(line["step"], line["loss"], line["grad_norm"], line["lr"]) for line in read_json_lines(self.output / "metrics.jsonl")]

    def signal(self, job: str) -> None:
        """What the controller does before the wall time under --signal=B:USR1."""
        subprocess.run(["scancel", "--signal=USR1", "--batch", job], env=self.environment, check=True)


@pytest.fixture
def runs(cluster: dict[str, str], tiny_run: Any, tmp_path: Path) -> Iterator[Runs]:
    yield Runs(cluster, tiny_run.recipe, tmp_path)
    subprocess.run(["scancel", "--user", "root"], env=cluster, check=False)


@pytest.fixture(scope="module")
def unbroken(tiny_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The same run without Slurm, at one go."""
    runs = Runs(dict(os.environ) | {"OMP_NUM_THREADS": "1"}, tiny_run.recipe, tmp_path_factory.mktemp("unbroken"))
    command = ["bash", "examples/pretrain_snowcoder.sh", "--recipe", str(tiny_run.recipe), "--output", str(runs.output)]
    runs.give([*command, "--set", "parallel.processes=2", *STEPS])
    return runs


def assert_same_end(runs: Runs, unbroken: Runs) -> None:
    import torch

    from megatron_snow.engine import read_model

    assert runs.losses() == unbroken.losses()
    ends = [CheckpointStore(Workspace(each.output).checkpoints, 2).latest() for each in (runs, unbroken)]
    assert ends[0] is not None
    assert ends[1] is not None
    first, second = (read_model(end.model) for end in ends if end)
    assert all(torch.equal(first[name], second[name]) for name in first | second)


class TestOnSlurm:
    pytestmark = slurm

    def test_the_signal_before_the_wall_time_saves_requeues_and_the_end_is_the_same_bit_for_bit(self, runs: Runs, unbroken: Runs) -> None:
        job = runs.sbatch()
        runs.wait(lambda: runs.saved() >= 40, job)
        runs.signal(job)
        runs.wait(lambda: "begun again by scontrol requeue" in runs.log(job), job)
        stopped = runs.saved()
        assert f"stopped after step {stopped} of 303, saved" in runs.log(job)
        log = runs.wait_for_end(job)
        assert log.count("begun again by") == 1
        assert "done: step 303 of 303" in log
        assert_same_end(runs, unbroken)

    def test_a_real_wall_time(self, runs: Runs) -> None:
        """Two minutes, of which the controller takes the last one to one and a half."""
        job = runs.sbatch("--time=2", "--signal=B:USR1@60", changes=("phases.first.tokens=12800000",))
        runs.wait(lambda: "begun again by scontrol requeue" in runs.log(job), job)
        assert "SIGUSR1" in runs.log(job) or "SIGTERM" in runs.log(job)
        stopped = runs.saved()
        assert f"stopped after step {stopped} of 100003, saved" in runs.log(job)
        runs.wait(lambda: runs.saved() > stopped, job)
        assert [line[0] for line in runs.losses()] == list(range(1, len(runs.losses()) + 1))

    def test_a_rank_that_dies_ends_both_nodes_and_the_job_begins_again(self, runs: Runs, unbroken: Runs) -> None:
        job = runs.sbatch()
        runs.wait(lambda: runs.saved() >= 40, job)
        kill_rank(runs.output, node="1")
        runs.wait(lambda: "failed after step" in runs.log(job), job, 120)
        log = runs.wait_for_end(job)
        assert log.count("begun again by") == 1
        assert "done: step 303 of 303" in log
        assert_same_end(runs, unbroken)

    def test_a_crash_at_the_same_step_is_tried_twice(self, runs: Runs) -> None:
        job = runs.sbatch(changes=("phases.first.lr.peak=1e30", "phases.first.lr.final=0"))
        log = runs.wait_for_end(job)
        assert log.count("begun again by") == 1
        assert "is not finite" in log
        assert "not begun again; mend it and give the job again" in log

    def test_a_mistake_is_tried_once(self, runs: Runs) -> None:
        job = runs.sbatch(changes=("model.num_layer=3",))
        log = runs.wait_for_end(job)
        assert "unknown key; did you mean num_layers?" in log
        assert "begun again" not in log
        assert not runs.output.exists()

    def test_a_chain_goes_on_and_its_last_link_has_nothing_to_do(self, runs: Runs, unbroken: Runs) -> None:
        options = ["--nodes=2", f"--output={runs.folder}/%j.log", "--", "--set", "parallel.processes=2", *STEPS]
        jobs = runs.give([CHAIN, "3"], *options)
        assert len(jobs) == 3
        runs.wait(lambda: runs.saved() >= 40, jobs[0])
        runs.signal(jobs[0])
        logs = [runs.wait_for_end(job) for job in jobs]
        assert "stopped after step" in logs[0]
        assert "the next job of the chain goes on" in logs[0]
        assert "done: step 303 of 303" in logs[1]
        assert "nothing to do: step 303 of 303 is done" in logs[2]
        assert_same_end(runs, unbroken)


def kill_rank(output: Path, node: str) -> None:
    """SIGKILL to the rank of a run that Slurm started on a node."""
    ours = [process for process in psutil.process_iter(["cmdline"]) if str(output) in (process.info["cmdline"] or [])]
    environments = [(process, process.environ()) for process in ours]
    for process, environment in environments:
        if "LOCAL_RANK" in environment and environment["SLURM_NODEID"] == node:
            process.kill()
            return
    raise AssertionError(f"no rank on node {node}")


def test_a_chain_is_given_to_sbatch_link_by_link(tmp_path: Path) -> None:
    """On a recorded sbatch, also where there is no Slurm."""
    record = tmp_path / "sbatch"
    record.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nwc -l < {tmp_path}/calls\n')
    record.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", CHAIN, "2", "--nodes=4", "--time=60", "--", "--set", "seed=7"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    common = "--nodes=4 --time=60 examples/slurm/pretrain.sbatch --set seed=7"
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"--parsable --no-requeue --export=ALL,CHAIN_LINK=1 {common}",
        f"--parsable --no-requeue --export=ALL,CHAIN_LINK=2 --dependency=afterany:1 {common}",
    ]
    assert subprocess.run(["bash", CHAIN, "none"], cwd=ROOT, capture_output=True, check=False).returncode == 2
