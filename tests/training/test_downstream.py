"""Checkpoints evaluated in the background: real processes of a short script; the house's own commands run in test_downstream_run.py."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from megatron_snow.common.records import read_json, read_json_lines
from megatron_snow.config import Downstream, Workspace, load_recipe
from megatron_snow.training import Plan, Run
from megatron_snow.training.divergence import DivergenceWatch
from megatron_snow.training.downstream import DownstreamEvaluation, evaluate_undone
from megatron_snow.training.downstream_tasks import undone
from megatron_snow.training.loop import StepDone

SCORE = "json.dump({'status': 'done', 'pass_at_1': int(step) / 100, 'problems': 4}, open(result, 'w'))"
SLEEP = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); time.sleep(600)"  # a child with a child


class Training:
    """Steps and checkpoints of a run without a model: all that the callback sees."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.evaluation = DownstreamEvaluation(run, run.done)

    def steps(self, *numbers: int, stopping: bool = False) -> None:
        """Steps whose checkpoints are saved as `CheckpointSaver` does."""
        for number in numbers:
            step = self.run.plan.step(number)
            if step.is_phase_end or number % self.run.recipe.training.save_interval == 0:
                keep, in_use = step.is_phase_end, self.evaluation.steps_in_use()
                self.run.store.save(number, lambda folder: folder.touch(), {}, keep_forever=keep, in_use=in_use)
            self.evaluation.on_step(StepDone(step, 1.0, 1.0, 0.1, 0.0, stopping))

    def poll_until(self, done: Callable[[], bool]) -> None:
        """As steps without a checkpoint do."""
        deadline = time.monotonic() + 60
        while not done():
            assert time.monotonic() < deadline, self.statuses()
            self.steps(1)
            time.sleep(0.01)

    def lines(self) -> list[dict[str, Any]]:
        return list(read_json_lines(self.run.workspace.downstream_metrics))

    def statuses(self) -> list[tuple[int, str]]:
        return [(line["step"], line["status"]) for line in self.lines()]


Make = Callable[..., Training]


@pytest.fixture
def make(tiny_run, tmp_path: Path) -> Iterator[Make]:  # type: ignore[no-untyped-def]
    """make(code, done=STEP, **settings): a training whose evaluations run `code`, which knows `result` and `step`."""
    made = []

    def make_training(code: str, *, done: int = 0, **settings: Any) -> Training:
        script = tmp_path / "evaluation.py"
        script.write_text(f"import json, os, subprocess, sys, time\nresult, step = sys.argv[1:]\n{code}\n")
        chosen = {"every": 2, "phase_ends": True, "commands": (f"{{python}} {script} {{result}} {{step}}",)} | settings
        recipe = load_recipe(tiny_run.recipe)
        recipe = dataclasses.replace(recipe, evaluation=dataclasses.replace(recipe.evaluation, downstream=Downstream(**chosen)))
        workspace, plan = Workspace(tmp_path / "run"), Plan(recipe)
        training = Training(Run(recipe, workspace, workspace, Path(), plan, done, plan.steps))
        made.append(training)
        return training

    yield make_training
    for training in made:
        training.evaluation._is_through = False
        training.evaluation.close()


def sleepers(folder: Path) -> list[psutil.Process]:
    """Processes of the test's script, and what they started."""
    roots = [process for process in psutil.process_iter() if any(str(folder) in word for word in _words(process))]
    return [process for root in roots for process in (root, *root.children(recursive=True))]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def assert_gone(processes: list[psutil.Process]) -> None:
    assert processes
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_a_checkpoint_that_was_lost_holds_up_no_other(make: Make) -> None:
    training = make(SCORE)
    lost = next(number for number in range(1, 9) if training.run.plan.step(number).is_phase_end)
    training.evaluation.on_step(StepDone(training.run.plan.step(lost), 1.0, 1.0, 0.1, 0.0, False))  # its save failed
    training.poll_until(lambda: not training.lines())
    training.steps(lost + 1)
    training.poll_until(lambda: len(training.lines()) == 2)
    assert training.statuses() == [(lost, "skipped"), (lost + 1, "done")]


def test_lines_hold_step_tokens_and_score(make: Make) -> None:
    training = make(SCORE)
    training.steps(1, 2)
    training.poll_until(lambda: bool(training.lines()))
    (line,) = training.lines()
    seconds = line.pop("seconds")
    assert 0 < seconds < 60
    assert line == {
        "step": 2, "tokens": 256, "phase": "first", "benchmark": "humaneval", "pass_at_1": 0.02, "n": 4,
        "checkpoint": "checkpoints/step-00000002", "status": "done",
    }  # fmt: skip


def test_a_newer_checkpoint_takes_the_place_of_one_that_waits_but_not_of_a_phase_end(make: Make) -> None:
    go = "while not os.path.exists(result + '.go'): time.sleep(0.01)\n"
    training = make(go + SCORE)
    training.steps(*range(1, 9))  # 2 runs; 4, 5 (a phase's end), 6 and 8 (another) come while it does
    assert training.statuses() == [(4, "skipped"), (6, "skipped")]
    assert training.evaluation.steps_in_use() == {2, 5, 8}
    for number in (2, 5, 8):
        training.run.workspace.downstream(number).mkdir(parents=True, exist_ok=True)
        (training.run.workspace.downstream(number) / "humaneval.json.go").touch()
    training.evaluation.close()  # all steps are done: it waits
    assert training.statuses()[2:] == [(2, "done"), (5, "done"), (8, "done")]


def test_retention_spares_what_is_evaluated(make: Make) -> None:
    training = make(SLEEP)
    training.steps(*range(1, 9))
    assert training.run.store.steps() == [2, 5, 6, 8]  # without it the two newest and the phases' ends
    training.evaluation._running[1].kill()  # type: ignore[index]
    training.steps(8)
    training.steps(8)
    assert training.run.store.steps() == [5, 6, 8]


def test_where_loss_and_score_part_a_line_says_so(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    """The score is the step in percent: it rises."""
    training = make(SCORE)
    held_out = training.run.workspace.held_out_metrics
    held_out.write_text("".join(json.dumps({"step": n, "losses": {"C": loss}}) + "\n" for n, loss in ((2, 3.0), (4, 3.5), (5, 3.25))))
    for number in (2, 4, 5):
        training.steps(number)
        training.poll_until(lambda number=number: (number, "done") in training.statuses())
    told = [line for line in capfd.readouterr().out.splitlines() if line.startswith("DIVERGENCE")]
    loss, score = "held-out loss rose by 0.5000", "humaneval pass@1 rose by 2.0 points (within chance for so few problems)"
    assert told == [f"DIVERGENCE: steps 2 to 4: {loss}, {score}"]


def test_a_training_loss_that_rises_is_told_once_also_after_a_resume(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    run = make(SCORE).run
    step = run.plan.step(1)

    def watch(losses: list[float]) -> list[str]:
        watching = DivergenceWatch(run.workspace.metrics)
        for loss in losses:
            watching.on_step(StepDone(step, loss, 1.0, 0.1, 0.0, False))
        return capfd.readouterr().err.splitlines()

    assert watch([3.0, 3.01] * 40) == []
    (told,) = watch([3.0, 3.01] * 40 + [4.0] * 20)
    assert told.startswith("DIVERGENCE: step 1: the training loss rises: median of 9 steps 4.000, of the 64 before 3.005")
    before = [{"step": 1, "tokens": 128, "phase": step.phase.name, "loss": loss} for loss in [3.0, 3.01] * 40]
    run.workspace.metrics.write_text("".join(json.dumps(line) + "\n" for line in before))
    assert watch([4.0] * 20) == [told]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("sys.exit('no such model')", "exit code 1"),
        ("os.kill(os.getpid(), 9)", "exit code -9"),
        ("pass", "is no result"),
        ("json.dump({'status': 'done', 'pass_at_1': 2, 'problems': 4}, open(result, 'w'))", "pass_at_1 2.0"),
    ],
)
def test_a_failure_is_one_line_that_names_its_log(make: Make, capfd: pytest.CaptureFixture[str], code: str, reason: str) -> None:
    training = make(code)
    training.steps(1, 2)
    training.poll_until(lambda: bool(training.lines()))
    (line,) = training.lines()
    assert (line["status"], line["pass_at_1"]) == ("failed", None)
    (told,) = capfd.readouterr().err.splitlines()
    log = training.run.workspace.downstream(2) / "humaneval.log"
    assert told.startswith("WARNING: evaluation of step 2 on humaneval failed, training goes on")
    assert reason in told
    assert str(log) in told
    assert ("no such model" in log.read_text()) == ("no such model" in code)


def test_a_place_of_another_kind_fails_alike(make: Make) -> None:
    training = make("pass", commands=("echo {result:d}",))
    training.steps(1, 2)
    assert training.statuses() == [(2, "failed")]


def test_a_command_that_is_not_there_fails_alike(make: Make) -> None:
    training = make("pass", commands=("no-such-command {result}",))
    training.steps(1, 2)
    training.poll_until(lambda: bool(training.lines()))
    assert training.statuses() == [(2, "failed")]
    assert "no-such-command: No such file" in (training.run.workspace.downstream(2) / "humaneval.log").read_text()


def test_it_is_of_low_priority_with_few_threads_and_no_gpu_and_outside_of_torchrun(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    training = make("json.dump(dict(os.environ) | {'nice': os.nice(0)}, open(result + '.seen', 'w'))\n" + SCORE, threads=3)
    training.steps(1, 2)
    training.poll_until(lambda: bool(training.lines()))
    seen = read_json(training.run.workspace.downstream(2) / "humaneval.json.seen")
    assert (seen["nice"], seen["OMP_NUM_THREADS"], seen["CUDA_VISIBLE_DEVICES"]) == (19, "3", "")
    assert not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_RUN_ID"} & seen.keys()


def test_a_stopped_run_ends_it_and_the_next_start_does_it(make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    training = make(SLEEP)
    training.steps(1, 2)
    while len(running := sleepers(tmp_path)) < 2:
        time.sleep(0.01)
    training.steps(3, stopping=True)
    training.evaluation.close()
    assert_gone(running)
    assert training.lines() == []
    assert "step 2 on humaneval: not done; the same command again does it" in capfd.readouterr().err
    again = make(SCORE, done=2)
    again.poll_until(lambda: bool(again.lines()))
    assert again.statuses() == [(2, "done")]


def test_a_run_that_does_not_wait_leaves_them_to_the_next_start(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    training = make(SCORE, phase_ends=False, every=8, wait=False)
    training.steps(*range(1, 9))
    training.evaluation.close()
    assert "step 8 on humaneval: not done; the same command again does it" in capfd.readouterr().err
    evaluate_undone(dataclasses.replace(training.run, done=8))
    assert training.statuses() == [(8, "done")]
    tensorboard = training.run.workspace.tensorboard
    assert b"downstream/pass_at_1/humaneval" in b"".join(path.read_bytes() for path in tensorboard.iterdir())


def test_a_run_resumed_earlier_forgets_what_came_after(make: Make) -> None:
    training = make(SCORE, every=2, phase_ends=False)
    for number in (2, 4):
        training.steps(number)
        training.poll_until(lambda number=number: (number, "done") in training.statuses())
    again = make(SCORE, done=2, every=2, phase_ends=False)
    assert again.statuses() == [(2, "done")]
    assert undone(again.run, 2) == []
    again.steps(3, 4)
    again.poll_until(lambda: len(again.lines()) == 2)
    assert again.statuses() == [(2, "done"), (4, "done")]


def test_what_failed_is_tried_again_and_a_new_benchmark_is_caught_up_on(make: Make) -> None:
    training = make("sys.exit(1)")
    training.steps(1, 2)
    training.poll_until(lambda: bool(training.lines()))
    benchmarks = ("humaneval", "more/problems.jsonl")
    assert [str(task) for task in undone(make(SCORE, done=2, benchmarks=benchmarks).run, 2)] == [
        "step 2 on humaneval",
        "step 2 on problems",
    ]


def test_it_does_not_outlive_a_killed_training(tmp_path: Path) -> None:
    code = f"""
        import subprocess, sys, time
        from pathlib import Path
        from megatron_snow.config import Downstream
        from megatron_snow.training.downstream_child import Child, environment_of
        command = [sys.executable, "-c", "import time; time.sleep(600)", {str(tmp_path)!r}]
        child = Child([command], Path({str(tmp_path)!r}) / "log", environment_of(Downstream()))
        time.sleep(600)
    """
    training = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    while not (running := [process for process in sleepers(tmp_path) if process.pid != training.pid and process.nice() == 19]):
        assert training.poll() is None
        time.sleep(0.05)
    os.kill(training.pid, signal.SIGKILL)
    training.wait()
    assert_gone(running)
