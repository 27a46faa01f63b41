"""Recipes that are another one with a few keys set; the paper's ablations are such, one line each."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.config import Recipe, load_recipe, recipe_to_dict, save_recipe
from megatron_snow.training import Plan
from megatron_snow.training.changes import differences

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"
ABLATIONS = RECIPES / "ablations"
LR = "phases.continued.lr"


def changed(recipe: Recipe, base: Recipe) -> dict[str, object]:
    """Keys that differ, with the value in `recipe`; phases by name, the recipe's own name left out."""
    trees = [recipe_to_dict(each) for each in (base, recipe)]
    trees = [tree | {"name": "", "phases": {phase["name"]: phase for phase in tree["phases"]}} for tree in trees]
    return {key: now for key, _, now in differences("", *trees)}


# file, what it differs in from the row of the table that its base is
ROWS = {
    "table5_linear": ("table5_rewarmup", {f"{LR}.peak": 5.3e-5, f"{LR}.warmup_tokens": 0}),
    "table5_constant": ("table5_rewarmup", {f"{LR}.shape": "constant", f"{LR}.peak": 5.3e-5, f"{LR}.warmup_tokens": 0}),
    "table6_1x50b": ("table6_4x12.5b", {"annotator.select_tokens": 50_000_000_000}),
    "table6_2x25b": ("table6_4x12.5b", {"annotator.select_tokens": 25_000_000_000}),
    "table6_3x16.7b": ("table6_4x12.5b", {"annotator.select_tokens": 16_666_666_667}),
    "table6_5x10b": ("table6_4x12.5b", {"annotator.select_tokens": 10_000_000_000}),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_the_paper_is_one_line(name: str) -> None:
    base, expected = ROWS[name]
    lines = (ABLATIONS / f"{name}.yaml").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == ["base", "set"]
    assert lines[0].split()[1] == f"{base}.yaml"
    recipe = load_recipe(ABLATIONS / f"{name}.yaml")
    assert changed(recipe, load_recipe(ABLATIONS / f"{base}.yaml")) == expected
    assert recipe.name == name
    assert recipe.workspace == "runs/snowcoder_1b3"


def test_every_ablation_is_a_row_or_the_base_of_rows() -> None:
    assert {path.stem for path in ABLATIONS.glob("*.yaml")} == ROWS.keys() | {base for base, _ in ROWS.values()}


@pytest.mark.parametrize("path", sorted(ABLATIONS.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_ablation_is_of_the_papers_run(path: Path, tmp_path: Path) -> None:
    """Phases 1 and 3 and all but phase 2 and the size of what is selected are the paper's; it comes back equal when it was resolved."""
    recipe = load_recipe(path)
    for key in changed(recipe, load_recipe(RECIPES / "snowcoder_1b3.yaml")):
        assert key.startswith("phases.continued.") or key == "annotator.select_tokens"
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(("table", "horizon", "steps"), [("table5", 10e9, 2_385), ("table6", 50e9, 11_921)])
def test_horizons_and_repeats(table: str, horizon: float, steps: int) -> None:
    """Table 5: 10 B tokens once. Table 6: 50 B over what is selected, as often as the row is called."""
    for path in ABLATIONS.glob(f"{table}_*.yaml"):
        recipe = load_recipe(path)
        assert recipe.phases[1].horizon == horizon
        assert Plan(recipe).phases[1].steps == steps
        repeats = recipe.phases[1].horizon / recipe.annotator.select_tokens
        assert repeats == pytest.approx(int(path.stem[7]) if table == "table6" else 1)
        assert [(blend.dataset, blend.has_budget) for blend in recipe.phases[1].data] == [("selected", False)]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_set_over_base_over_base_and_the_command_line_over_all(tmp_path: Path) -> None:
    write(tmp_path, "one.yaml", f"base: {RECIPES / 'tiny_cpu.yaml'}\nset: {{seed: 5, phases.general.tokens: 200_000, workers: 3}}")
    two = write(tmp_path, "two.yaml", "base: one.yaml\nset: {phases.general.tokens: 300_000, name: mine}")
    recipe = load_recipe(two, ["workers=4"])
    assert (recipe.name, recipe.seed, recipe.phases[0].tokens, recipe.workers) == ("mine", 5, 300_000, 4)
    assert load_recipe(tmp_path / "one.yaml").name == "one"
    assert load_recipe(write(tmp_path, "same.yaml", "base: one.yaml")).seed == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: none.yaml", "none.yaml: no such recipe"),
        ("base: bad.yaml", "bad.yaml: its base leads back to itself: bad.yaml -> bad.yaml"),
        (
            "base: tiny.yaml\nseed: 5",
            "bad.yaml: beside `base: FILE` there is only `set:`, a mapping of dotted keys to values; seed: belongs under set",
        ),
        ("base: tiny.yaml\nset: [seed=5]", "there is only `set:`, a mapping of dotted keys"),
        ("base: [tiny.yaml]", "beside `base: FILE` there is only `set:`"),
        (
            "base: tiny.yaml\nset: {phases.nosuch.tokens: 5}",
            "bad.yaml: set phases.nosuch.tokens: no item 'nosuch'; there are general, continued",
        ),
        ("base: tiny.yaml\nset: {seed.deep: 5}", "bad.yaml: set seed.deep: seed is the value 1234, it has no keys of its own"),
        ("base: tiny.yaml\nset: {sed: 5}", "bad.yaml: 1 problem in the recipe\n  sed: unknown key; did you mean seed?"),
    ],
)
def test_mistakes_name_the_file(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "tiny.yaml", (RECIPES / "tiny_cpu.yaml").read_text())
    with pytest.raises(UserError) as refusal:
        load_recipe(write(tmp_path, "bad.yaml", text))
    assert message in str(refusal.value)
