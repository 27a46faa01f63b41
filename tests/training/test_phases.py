"""The plan: steps, samples and tokens of every phase, without gap or overlap; batch sizes of their own; where reading goes on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_snow.cli.main import run_verb
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import read_json_lines
from megatron_snow.config import Recipe, Workspace, load_recipe
from megatron_snow.datasets import PhaseData
from megatron_snow.datasets.mixture_table import describe_mixture
from megatron_snow.training.data import BatchReader, open_phase
from megatron_snow.training.phases import Plan
from megatron_snow.training.pretrain import pretrain
from megatron_snow.training.token_uses import TokenUses

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(load_recipe(RECIPES / "tiny_cpu.yaml", ["phases.continued.tokens=655_361"]))


def test_horizons_round_up_to_whole_steps(plan: Plan) -> None:
    assert [planned.steps for planned in plan.phases] == [128, 41, 16]
    assert [planned.first_step for planned in plan.phases] == [1, 129, 170]
    assert plan.steps == 185


def test_the_papers_steps() -> None:
    """119,209 / 11,921 / 1,192 whole steps at 4,194,304 tokens, and one for the rest of each horizon."""
    plan = Plan(load_recipe(RECIPES / "snowcoder_1b3.yaml"))
    assert [planned.steps for planned in plan.phases] == [119_210, 11_921, 1_193]


def test_samples_follow_each_other_within_a_phase(plan: Plan) -> None:
    for planned in plan.phases:
        consumed: list[int] = []
        for number in range(planned.first_step, planned.last_step + 1):
            step = plan.step(number)
            assert step.phase is planned.phase
            consumed += step.samples
        assert consumed == list(range(planned.samples))
        assert len(consumed) * 512 >= planned.phase.tokens


@pytest.mark.parametrize("size", [1, 2, 3, 8, 32])
def test_rows_of_the_ranks_make_up_the_batch(plan: Plan, size: int) -> None:
    step = plan.step(133)
    assert [row for rank in range(size) for row in step.rows(rank, size)] == list(step.samples) == list(range(4 * 32, 5 * 32))


def test_starts_ends_and_totals(plan: Plan) -> None:
    assert [number for number in range(1, 186) if plan.step(number).is_phase_start] == [1, 129, 170]
    assert [number for number in range(1, 186) if plan.step(number).is_phase_end] == [128, 169, 185]
    assert plan.step(129).total_samples == 129 * 32
    assert plan.step(129).total_tokens == 129 * 32 * 512
    assert plan.step(129).learning_rate == 0.0
    assert plan.step(130).learning_rate == plan.step(130).phase.lr.peak * 32 * 512 / 65_536


def test_phases_by_step(plan: Plan) -> None:
    def names(phases: list) -> list[str]:  # type: ignore[type-arg]
        return [planned.phase.name for planned in phases]

    assert names(plan.begun(0)) == []
    assert names(plan.begun(128)) == ["general"]
    assert names(plan.begun(129)) == ["general", "continued"]
    assert names(plan.between(129, 169)) == ["continued"]
    assert names(plan.between(128, 185)) == ["general", "continued", "enhanced"]


def test_ends_and_mistakes(plan: Plan) -> None:
    assert plan.last_step(None) == 185
    assert plan.last_step("continued") == 169
    with pytest.raises(UserError, match="no such phase; did you mean continued"):
        plan.last_step("contined")
    with pytest.raises(UserError, match=r"steps 1 to 185 \(general 1-128, continued 129-169, enhanced 170-185\)"):
        plan.step(186)


def test_a_phase_with_a_batch_of_its_own() -> None:
    """Twice the batch: half the steps; samples, tokens and the rate go on counting without a gap."""
    plan = Plan(load_recipe(RECIPES / "tiny_cpu.yaml", ["phases.continued.global_batch_size=64"]))
    assert [(planned.batch, planned.steps) for planned in plan.phases] == [(32, 128), (64, 20), (32, 16)]
    totals = [0, *(plan.step(number).total_samples for number in range(1, plan.steps + 1))]
    assert [after - before for before, after in pairwise(totals)] == [32] * 128 + [64] * 20 + [32] * 16
    assert plan.step(plan.steps).total_tokens == sum(phase.horizon for phase in (planned.phase for planned in plan.phases))
    assert plan.step(130).samples == range(64, 128)
    assert plan.step(130).learning_rate == plan.step(130).phase.lr.peak * 64 * 512 / 65_536


def test_a_batch_that_does_not_divide() -> None:
    with pytest.raises(UserError, match=r"phases.continued.global_batch_size: 40 is not a multiple of .*micro_batch_size 16") as refusal:
        load_recipe(RECIPES / "tiny_cpu.yaml", ["phases.continued.global_batch_size=40", "phases.enhanced.global_batch_size=-32"])
    assert "phases.enhanced.global_batch_size: -32" in str(refusal.value)


def test_batches_of_their_own_train(tiny_run: Any, tmp_path: Path) -> None:
    """In the engine too: three micro-batches a step after two, the last step beyond the horizon of 384."""
    recipe = load_recipe(tiny_run.recipe, ["phases.second.global_batch_size=6", "evaluation={benchmarks: [], held_out_sequences: 0}"])
    assert pretrain(recipe, Workspace(tmp_path)) == 7
    assert [line["tokens"] for line in read_json_lines(Workspace(tmp_path).metrics)] == [128, 256, 384, 512, 640, 832, 1024]


def opened(recipe: Recipe, workspace: Workspace) -> list[PhaseData]:
    return [open_phase(planned, recipe, workspace) for planned in Plan(recipe).phases]


def places(data: PhaseData) -> dict[str, list[tuple[int, int]]]:
    """(round, position) of each sample that a source gives, in order."""
    found: dict[str, list[tuple[int, int]]] = {}
    for i in range(len(data)):
        source, of_round, position = data.locate(i)
        found.setdefault(source.name, []).append((of_round, position))
    return found


# `first` reads general, `second` general and selected.
CURSOR = ["phases.second.sample_cursor=carry", "phases.first.tokens=64000", "phases.second.tokens=200_000"]


def test_a_phase_goes_on_where_the_one_before_stopped(tiny_run: Any) -> None:
    recipe = load_recipe(tiny_run.recipe, CURSOR)
    first, second = opened(recipe, tiny_run.workspace)
    before, after = places(first), places(second)
    for name in ("general/C", "general/Python"):
        assert after[name][0] == (0, len(before[name]))  # the sample that would have come next
        assert len(set(before[name] + after[name])) == len(before[name]) + len(after[name])
    assert after["selected/Python"][0] == (0, 0)  # nobody read it before
    note = f"general/C goes on after the {len(before['general/C']):,} samples that phases before read"
    assert note in describe_mixture(second)


def test_the_two_phases_read_what_one_of_both_would(tiny_run: Any) -> None:
    """Split in two, a phase reads the same samples: tokens and order."""
    changes = ["phases.first.tokens=64000", "phases.second.tokens=64000", "phases.second.data=[{dataset: general}]"]
    first, second = opened(load_recipe(tiny_run.recipe, [*changes, "phases.second.sample_cursor=carry"]), tiny_run.workspace)
    whole = opened(load_recipe(tiny_run.recipe, ["phases.first.tokens=128000"]), tiny_run.workspace)[0]
    for name, source in (("general/C", 0), ("general/Python", 1)):
        rows = [[i for i in range(len(data)) if data.locate(i)[0].name == name] for data in (first, second, whole)]
        split = np.concatenate([first.read(rows[0]).tokens, second.read(rows[1]).tokens])
        count = min(len(split), len(rows[2]))
        assert count > 800
        assert np.array_equal(split[:count], whole.read(rows[2][:count]).tokens), source


def test_it_starts_anew_by_default(tiny_run: Any) -> None:
    """In an order of its own: the first samples are others."""
    first, second = opened(load_recipe(tiny_run.recipe), tiny_run.workspace)
    assert places(second)["general/C"][0] == (0, 0)
    spans = [[data.passes[0].index(0).spans(k) for k in range(8)] for data in (first, second)]
    assert spans[0] != spans[1]


def test_it_goes_on_into_the_next_pass(tiny_run: Any, tmp_path: Path) -> None:
    """And a third phase after both: each dataset from the phase that read it last."""
    long = ["phases.first.tokens=256_000", "phases.second.tokens=128_000", "phases.second.data=[{dataset: general}]"]
    third = "{name: third, data: [{dataset: general}], tokens: 32_000, lr: {shape: constant, peak: 1.0e-3}, sample_cursor: carry}"
    text = tiny_run.recipe.read_text()
    recipe_file = tmp_path / "three.yaml"
    recipe_file.write_text(text.replace("evaluation:", f"  - {third}\nevaluation:"))
    recipe = load_recipe(recipe_file, [*long, "phases.second.sample_cursor=carry"])
    phases = opened(recipe, tiny_run.workspace)
    size = phases[0].sources[0].samples_per_epoch
    read = [places(data)["general/C"] for data in phases]
    assert sum(map(len, read)) > size
    assert [of_round * size + position for part in read for of_round, position in part] == list(range(sum(map(len, read))))


def test_token_uses_know_of_it(tiny_run: Any) -> None:
    """The way back from tokens to samples finds them in the phase that goes on, and only there."""
    recipe = load_recipe(tiny_run.recipe, CURSOR)
    data = opened(recipe, tiny_run.workspace)[1]
    prefix = tiny_run.workspace.tokens("general") / "C"
    mine = [i for i in range(len(data)) if data.locate(i)[0].path == prefix]
    for sample in (mine[0], mine[len(mine) // 2], mine[-1]):
        span = data.spans(sample)[0]
        uses = {use.phase: use.samples for use in TokenUses(recipe, tiny_run.workspace).of(prefix, span.first_token + 1, 1)}
        assert sample in uses["second"]


def test_prepare_index_knows_of_it(make_tiny_run: Callable[[Path], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It builds what training opens, and nothing more."""
    run = make_tiny_run(tmp_path)
    options = ["--recipe", str(run.recipe), "--set", *CURSOR]
    assert run_verb("prepare_index", options) == 0
    built = set(run.workspace.root.rglob("index/*"))
    recipe = load_recipe(run.recipe, CURSOR)
    reader, plan = BatchReader(recipe, run.workspace), Plan(recipe)
    for number in range(1, plan.steps + 1, 7):
        reader.read(plan.step(number), 0, 1)
    assert set(run.workspace.root.rglob("index/*")) == built
    assert len(built) >= 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["phases.first.sample_cursor=carry"], "phases.first.sample_cursor: carry, but no phase before it reads general; leave it out"),
        (
            ["phases.second.sample_cursor=carry", "phases.first.repeat=joint"],
            "sample_cursor: carry goes on from pass to pass",
        ),
        (
            ["phases.second.sample_cursor=carry", "phases.second.packing=best_fit"],
            "first has packing concatenate and this one best_fit",
        ),
    ],
)
def test_nowhere_to_go_on(tiny_run: Any, changes: list[str], message: str) -> None:
    with pytest.raises(UserError) as refusal:
        load_recipe(tiny_run.recipe, changes)
    assert message in str(refusal.value)


def test_another_part_of_a_dataset(tiny_run: Any) -> None:
    changes = [*CURSOR, "phases.first.data=[{dataset: general, tokens: 64_000}]"]
    with pytest.raises(UserError, match=r"sample_cursor: carry, but general/C is the whole here and a part of .* sequences in the phase"):
        opened(load_recipe(tiny_run.recipe, changes), tiny_run.workspace)
