"""Recipes load strictly, say all that is wrong at once, and come back equal."""

from pathlib import Path

import pytest
import yaml

import megatron_snow
from megatron_snow.common.errors import UserError
from megatron_snow.config import check_makeable, load_recipe, save_recipe

RECIPES = Path(megatron_snow.__file__).parent.parent / "examples" / "recipes"
TINY = RECIPES / "tiny_cpu.yaml"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_loads_and_round_trips(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


def test_the_paper_run_has_the_papers_numbers() -> None:
    """Fact by fact: Table 1, 2.2, 2.3, 2.4."""
    recipe = load_recipe(RECIPES / "snowcoder_1b3.yaml")
    model = recipe.model
    assert (model.hidden_size, model.ffn_hidden_size, model.num_attention_heads, model.num_query_groups) == (2048, 5632, 16, 16)
    assert (model.num_layers, recipe.tokenizer.vocab_size, model.seq_length, model.tie_embeddings) == (24, 64000, 8192, True)
    assert len(recipe.corpus.languages) == 18
    general, continued, enhanced = recipe.phases
    tokens_per_step = recipe.training.global_batch_size * model.seq_length
    assert tokens_per_step == 4_194_304
    assert (general.tokens, general.lr.shape, general.lr.peak, general.lr.final) == (500e9, "cosine", 5.3e-4, 5.3e-5)
    assert general.lr.warmup_tokens == 600 * tokens_per_step
    assert (continued.horizon, continued.lr.shape, continued.lr.peak, continued.lr.final) == (50e9, "linear", 5.3e-4, 0.0)
    assert (continued.data[0].tokens, continued.data[0].epochs) == (12.5e9, 4)
    assert continued.lr.warmup_tokens == 1000 * tokens_per_step
    assert recipe.annotator.select_tokens * 4 == continued.horizon
    assert (enhanced.tokens, enhanced.languages) == (5e9, {"Python": 0.5})


def problems_of(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(TINY, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.hiden_size=3", "model.hiden_size: unknown key; did you mean hidden_size?"),
        ("training.precision=bf61", "training.precision: 'bf61' is not one of fp32, bf16; did you mean bf16?"),
        ("training.optimizer.weight_decay=much", "training.optimizer.weight_decay: 'much' is not a number"),
        ("model.hidden_size=100", "6 does not divide hidden_size 100"),
        ("parallel.tensor=4", "parallel.processes: 2 is not a multiple of tensor x pipeline x context = 4; the nearest is 4"),
        ("training.global_batch_size=33", "33 is not a multiple of micro_batch_size 16 x data-parallel ranks 2"),
        ("phases.general.lr.warmup_tokens=9999999", "phases.general.lr.warmup_tokens: 9999999 is not below the horizon"),
        ("phases.general.tokens=true", "True is not a whole number"),
        ("phases.enhanced.languages={Python: 0.9, C: 0.3}", "together at most 1"),
        ("phases.general.tokens=0", "phases.general.tokens: none given, and general has no budget of tokens to take its place"),
        ("phases.general.data.0.tokens=1000", "phases.general.tokens: 2,097,152, but the budgets make general 1,000 = 1,000; leave it out"),
        ("phases.enhanced.data.0={dataset: seeds, tokens: 100_000, epochs: 4}", "seeds 100,000 x 4 = 400,000 leave nothing for selected"),
        ("phases.enhanced.data.0.tokens=1", "phases.enhanced.data[0].share: 0.5, and synthetic has a budget"),
        ("phases.enhanced.data.0.share=0", "phases.enhanced.data[0].share: 0.0: every share must be above 0; leave synthetic out"),
        ("phases.enhanced.data.0.dataset=selected", "phases.enhanced.data: selected is named twice; add its shares up"),
        ("phases.general.fim={rate: 1.5}", "phases.general.fim.rate: 1.5 is not in [0, 1]"),
        ("phases.general.packing=bestfit", "'bestfit' is not one of concatenate, best_fit; did you mean best_fit?"),
        ("phases.nosuch.tokens=1", "no item 'nosuch'; there are general, continued, enhanced"),
        ("seed", "expected key=value"),
        ("seed.deep=1", "seed is the value 1234"),
    ],
)
def test_each_mistake_has_a_message(override: str, message: str) -> None:
    assert message in problems_of(override)


def test_a_horizon_that_is_left_out_is_the_sum_of_the_budgets() -> None:
    budgets = "[{dataset: general, tokens: 160_000, epochs: 4}, {dataset: synthetic, tokens: 15_360}]"
    recipe = load_recipe(TINY, [f"phases.continued.data={budgets}", "phases.continued.tokens=0"])
    assert recipe.phases[1].horizon == 655_360
    assert recipe.steps(recipe.phases[1]) == 40


def test_a_budget_over_what_is_selected() -> None:
    """It would be found out after the annotator has run over the corpus."""
    budget = "phases.continued.data=[{dataset: selected, tokens: 200_000, epochs: 4}]"
    recipe = load_recipe(TINY, [budget, "phases.continued.tokens=0"])
    message = "200,000 different tokens of selected, of which annotator.select_tokens makes 163,840"
    assert list(check_makeable(recipe)) == [("phases.continued.data[0].tokens", message)]
    assert not list(check_makeable(load_recipe(RECIPES / "snowcoder_1b3.yaml")))


def test_all_problems_come_at_once() -> None:
    message = problems_of("model.hiden_size=3", "training.precision=bf61", "seed=x")
    assert "3 problems" in message
    assert message.count("\n") == 3


def test_overrides_address_items_by_name_and_number() -> None:
    recipe = load_recipe(TINY, ["phases.general.lr.peak=1e-3", "phases.1.tokens=65_600", "phases.1.lr.warmup_tokens=0"])
    assert recipe.phases[0].lr.peak == 1e-3
    assert recipe.phases[1].tokens == 65_600
    assert recipe.steps(recipe.phases[1]) == 5  # 4.004 steps of 16,384 tokens, rounded up


def test_missing_file_bad_yaml_and_missing_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such recipe"):
        load_recipe(tmp_path / "none.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [1")
    with pytest.raises(UserError, match="not valid YAML"):
        load_recipe(bad)
    tree = yaml.safe_load(TINY.read_text())
    del tree["model"]["num_layers"]
    bad.write_text(yaml.safe_dump(tree))
    with pytest.raises(UserError, match=r"model\.num_layers: missing"):
        load_recipe(bad)
