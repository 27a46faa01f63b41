"""plan-run says what a run takes from its recipe alone, and refuses layouts that break a rule or do not fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import megatron_snow
from megatron_snow.cli.main import run_verb
from megatron_snow.config import load_recipe
from megatron_snow.config.checks import check_recipe
from megatron_snow.training.planning import device_named, smallest_layout
from megatron_snow.training.planning.layouts import fits

RECIPES = Path(megatron_snow.__file__).parent.parent / "examples" / "recipes"
PAPER, TINY = str(RECIPES / "snowcoder_1b3.yaml"), str(RECIPES / "tiny_cpu.yaml")


def planned(capsys: pytest.CaptureFixture[str], *options: str, recipe: str = PAPER) -> dict[str, Any]:
    assert run_verb("plan_run", ["--recipe", recipe, "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert run_verb("plan_run", ["--recipe", PAPER, *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error
    return error


def test_the_papers_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Parameters of Table 1, horizons of 2.2 to 2.4 in steps of 4,194,304 tokens, FLOPs added up by hand."""
    plan = planned(capsys)
    counted = plan["parameters"]
    assert counted["total"] == counted["embedding"] + counted["linear"] + counted["norms"] == 1_364_297_728
    assert [phase["steps"] for phase in plan["as_written"]["phases"]] == [119_210, 11_921, 1_193]
    linear = 24 * (4 * 2048**2 + 3 * 2048 * 5632)
    assert plan["flops"]["weights"] == 6 * (linear + 64_000 * 2048)
    assert plan["flops"]["causal_attention"] == 6 * 24 * 8192 * 2048
    memory = plan["as_written"]["stages"][0]
    assert (memory["weights"], memory["gradients"]) == (2 * 1_364_297_728, 4 * 1_364_297_728)
    assert memory["moments"] == 8 * 1_364_297_728 // 64  # ZeRO-1
    parts = ("weights", "gradients", "master", "moments", "activations", "logits", "passing")
    assert memory["peak"] == sum(memory[part] for part in parts)
    assert plan["mfu_is_assumed"]


def test_time_and_cost_are_flops_over_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(capsys, "--gpus", "8..512", "--mfu", "0.5", "--price", "2")
    tokens = (119_210 + 11_921 + 1_193) * 512 * 8192
    flops = plan["flops"]["weights"] + plan["flops"]["causal_attention"]
    assert list(plan["suggested"]) == ["8", "16", "32", "64", "128", "256", "512"]
    for ranks, layout in plan["suggested"].items():
        hours = tokens * flops / (int(ranks) * 989e12 * 0.5) / 3600
        assert layout["hours"] == pytest.approx(hours)
        assert layout["cost"] == pytest.approx(2 * int(ranks) * hours)
    assert not plan["mfu_is_assumed"]


def test_a_pipeline_pays_its_bubble(capsys: pytest.CaptureFixture[str]) -> None:
    """4 stages, 512 / (2 x 16) = 16 micro-batches: 3/16 more; two chunks a rank halve that."""
    layout = ["--set", "parallel.pipeline=4"]
    flat = planned(capsys)["as_written"]["hours"]
    assert planned(capsys, *layout)["as_written"]["hours"] == pytest.approx(flat * (1 + 3 / 16))
    assert planned(capsys, *layout, "parallel.virtual_pipeline=2")["as_written"]["hours"] == pytest.approx(flat * (1 + 3 / 32))


@pytest.mark.parametrize("preset", ["snowcoder-30m", "snowcoder-1b3", "snowcoder-7b", "snowcoder-13b"])
@pytest.mark.parametrize("ranks", [8, 24, 512])
def test_what_is_suggested_keeps_every_rule_and_fits(preset: str, ranks: int) -> None:
    recipe, device = load_recipe(PAPER, [f"model.preset={preset}", "training.global_batch_size=1536"]), device_named("h100")
    found = smallest_layout(recipe, ranks, device)
    assert found is not None
    assert not list(check_recipe(found))
    assert fits(found, device)
    assert found.parallel.processes == ranks


def test_the_suggestion_is_the_smallest() -> None:
    """7 B parameters with 18 bytes each do not fit 79 GiB on one rank: they take a split or the sharing of ZeRO-1."""
    recipe = load_recipe(PAPER, ["model.preset=snowcoder-7b", "training.micro_batch_size=1"])
    alone = smallest_layout(recipe, 1, device_named("h100"))
    assert alone is None
    shared = smallest_layout(recipe, 64, device_named("h100"))
    assert shared is not None
    assert shared.parallel.distributed_optimizer
    small = device_named("h100", memory_gib=24)
    split = smallest_layout(recipe, 64, small)
    assert split is not None
    size = split.parallel.tensor * split.parallel.pipeline
    assert size > shared.parallel.tensor * shared.parallel.pipeline


def test_a_dry_run_of_64_ranks(capsys: pytest.CaptureFixture[str]) -> None:
    layout = ["--set", "parallel.tensor=2", "parallel.pipeline=4", "parallel.sequence=true"]
    assert run_verb("plan_run", ["--recipe", PAPER, "--dry-run", "--world-size", "64", *layout]) == 0
    output = capsys.readouterr().out
    assert "64 ranks = data 8 x tensor 2 x pipeline 4 x context 1" in output
    first, last = output.split("pipeline stage 0: ")[1], output.split("pipeline stage 3: ")[1]
    assert "embedding.word_embeddings.weight" in first.split("\n\n")[0]
    assert "[5632, 2048]" in first  # 2 x 5632 rows of gate and up, halved
    assert "6 layers, 18 to 23" in last
    assert "output_layer.weight" in last


def test_a_dry_run_tells_every_broken_rule(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "--dry-run", "--world-size", "60", "--set", "parallel.tensor=3", "parallel.pipeline=7")
    assert "parallel.processes: 60 is not a multiple of tensor x pipeline x context = 21; the nearest are 42 and 63" in error
    assert "parallel.tensor: 3 does not divide" in error
    assert "parallel.pipeline: 7 does not divide model.num_layers 24; use 6 or 8" in error


def test_too_little_memory_is_refused_with_a_layout_that_fits(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "--dry-run", "--set", "model.preset=snowcoder-13b")
    remedy = error.split("--set ")[1].split()
    assert run_verb("plan_run", ["--recipe", PAPER, "--dry-run", "--set", "model.preset=snowcoder-13b", *remedy]) == 0
    assert "in any layout of 1 ranks" in refused(
        capsys, "--dry-run", "--world-size", "1", "--set", "model.preset=snowcoder-13b", "parallel.distributed_optimizer=false"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gpus", "eight"], "--gpus eight: expected numbers above 0"),
        (["--gpus", "8..x"], "--gpus 8..x: expected numbers above 0"),
        (["--device", "h10"], "--device h10: not known; did you mean h100?"),
        (["--mfu", "40"], "--mfu 40: is not in (0, 1]"),
        (["--price", "-1"], "--price -1: is below 0"),
        (["--peak-tflops", "0"], "--peak-tflops 0: must be above 0"),
    ],
)
def test_what_is_refused(capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    assert message in refused(capsys, *options)


def test_numbers_of_ranks_that_no_layout_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert planned(capsys, "--gpus", "7,8")["suggested"]["7"] is None  # 512 sequences among 7 ranks
    assert run_verb("plan_run", ["--recipe", PAPER, "--gpus", "7"]) == 0
    assert "none: no layout keeps every rule" in capsys.readouterr().out


def test_a_cpu_without_a_known_rate(capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(capsys, "--device", "cpu", recipe=TINY)
    assert plan["as_written"]["hours"] is None
    half = planned(capsys, "--device", "cpu", "--peak-tflops", "0.5", recipe=TINY)["as_written"]
    assert half["hours"] > 0
    assert half["device_hours"] == half["hours"]  # both processes share the machine


def test_it_needs_no_torch() -> None:
    script = (
        "import sys\nfrom megatron_snow.cli.main import run_verb\n"
        f"code = run_verb('plan_run', ['--recipe', {PAPER!r}, '--gpus', '8..64', '--dry-run'])\n"
        "assert not {'torch', 'transformers', 'megatron'} & set(sys.modules)\nsys.exit(code)"
    )
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL, check=False).returncode == 0
