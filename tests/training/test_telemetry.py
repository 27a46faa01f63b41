"""What a step is measured by, in closed form; which peak it is a share of."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from megatron_snow.config import load_recipe
from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder
from megatron_snow.training import Plan, Run, Step, prepare
from megatron_snow.training.data import BatchReader, LocalBatch
from megatron_snow.training.environment import write_environment
from megatron_snow.training.loop import Callback, StepDone, train
from megatron_snow.training.planning.flops import Flops, flops_per_token
from megatron_snow.training.telemetry import TIMED, Figures, Peak, data_sheet, find_peak

QUICK = ["evaluation={benchmarks: [], held_out_sequences: 0}"]


def test_a_line_in_closed_form(tiny_run) -> None:  # type: ignore[no-untyped-def]
    """128 tokens in half a second, at 1,000 + 400 (causal) operations a token of a device of 1 MFLOP/s."""
    step = Plan(load_recipe(tiny_run.recipe)).step(2)
    figures = Figures(Flops(1000, 400), Peak(1e6, "made up"))
    line = figures.line(StepDone(step, 6.5, 1.5, seconds=0.5, data_seconds=0.01, stopping=False))
    assert {name: line[name] for name in TIMED} == {
        "tokens_per_second": 256.0, "data_wait": 0.02, "mfu_full": 0.4608, "mfu_causal": 0.3584,
    }  # fmt: skip
    assert [line[name] for name in ("step", "tokens", "phase", "loss", "grad_norm")] == [2, 256, "first", 6.5, 1.5]
    assert line["lr"] == step.learning_rate


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA H100 80GB HBM3", 989.0), ("NVIDIA H200", 989.0), ("NVIDIA A100-SXM4-80GB", 312.0)]
    + [(name, None) for name in ("NVIDIA H100 PCIe", "NVIDIA H100 NVL", "NVIDIA H200 NVL", "NVIDIA GH200 480GB", "NVIDIA L4")],
)
def test_a_gpu_is_known_by_its_whole_name(name: str, peak: float | None) -> None:
    found = data_sheet(name)
    assert (found and found.peak_tflops) == peak


class SlowReader(BatchReader):
    """Takes a twentieth of a second more."""

    def read(self, step: Step, data_rank: int, data_size: int) -> LocalBatch:
        time.sleep(0.05)
        return super().read(step, data_rank, data_size)


class Keep(Callback):
    def __init__(self) -> None:
        self.steps: list[StepDone] = []

    def on_step(self, done: StepDone) -> None:
        self.steps.append(done)


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Run:  # type: ignore[no-untyped-def]
    return prepare(load_recipe(tiny_run.recipe, QUICK), type(tiny_run.workspace)(tmp_path_factory.mktemp("out")))


@pytest.fixture(scope="module")
def engine(run: Run):  # type: ignore[no-untyped-def]
    engine = Engine(run.recipe, build_snowcoder(run.recipe))
    yield engine
    engine.close()


def test_reading_has_its_own_share(engine: Engine, run: Run) -> None:
    kept = Keep()
    figures = Figures.of(engine, run.recipe)
    assert figures.flops == flops_per_token(run.recipe)
    train(engine, run.plan, range(1, 3), SlowReader(run.recipe, run.data), [kept])
    for done in kept.steps:
        assert 0.05 <= done.data_seconds < done.seconds
        assert figures.line(done)["data_wait"] == round(done.data_seconds / done.seconds, 5)


def test_on_a_cpu_the_peak_is_measured_and_no_random_state_moves(engine: Engine) -> None:
    before = torch.get_rng_state()
    peak = find_peak(engine)
    assert torch.equal(before, torch.get_rng_state())
    assert peak.flops > 1e8  # a pocket calculator of a core does more
    assert peak.source == f"measured, fp32 matrix product on the CPU with {torch.get_num_threads()} thread(s) a rank, 1 rank"


def test_the_environment_says_what_made_the_weights(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("SOMEBODYS_TOKEN", "hunter2")
    write_environment(tmp_path, engine, Peak(2e12, "made up"))
    text = (tmp_path / "environment.yaml").read_text()
    found: dict[str, Any] = yaml.safe_load(text)
    assert found["torch"]["version"] == torch.__version__
    assert found["torch"]["backend"] == "gloo"
    assert found["torch"]["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert found["packages"]["torch"] == torch.__version__
    assert found["settings"]["OMP_NUM_THREADS"] == "1"
    assert found["peak"] == {"tflops": 2.0, "source": "made up"}
    assert found["ranks"] == 1
    assert "hunter2" not in text
