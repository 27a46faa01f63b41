"""prepare-index builds what training opens: all of it, nothing else, without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_snow.cli.main import run_verb
from megatron_snow.config import Workspace, load_recipe
from megatron_snow.training import Plan
from megatron_snow.training.data import open_phase
from tests.datasets.made import written

CONSTANT = {"shape": "constant", "peak": 0.1}
RECIPE: dict[str, Any] = {
    "name": "small",
    "model": {
        "num_layers": 1, "hidden_size": 8, "ffn_hidden_size": 8, "num_attention_heads": 1, "num_query_groups": 1, "seq_length": 64,
    },
    "tokenizer": {"vocab_size": 32_000},
    "training": {"global_batch_size": 4, "micro_batch_size": 1},
    "phases": [
        {"name": "first", "data": [{"dataset": "general"}], "tokens": 64 * 40, "lr": CONSTANT},
        {"name": "many", "data": [{"dataset": "general"}], "tokens": 64 * 400, "lr": CONSTANT},
        {"name": "joint", "data": [{"dataset": "general"}], "repeat": "joint", "tokens": 64 * 400, "lr": CONSTANT},
    ],
}  # fmt: skip


@pytest.fixture
def run_folder(tmp_path: Path) -> tuple[Path, Path]:
    """(recipe, its run's folder): Python has 100 samples a pass, C 20."""
    recipe, folder = tmp_path / "recipe.yaml", tmp_path / "out"
    general = Workspace(folder).tokens("general")
    general.mkdir(parents=True)
    written(general / "Python", [64] * 100 + [1])
    written(general / "C", [640, 640, 1])
    recipe.write_text(yaml.safe_dump(RECIPE | {"workspace": str(folder)}))
    return recipe, folder


def indices(folder: Path) -> set[Path]:
    return set(folder.rglob("*.samples"))


def test_training_finds_all_it_reads(run_folder: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    recipe_file, folder = run_folder
    assert run_verb("prepare_index", ["--recipe", str(recipe_file)]) == 0
    output = capsys.readouterr().out
    built = indices(folder)
    # first: 33 samples of Python and 7 of C, a pass each; many: 4 passes of each (333 and 67 samples); joint: 3 passes together, then one
    assert len(built) == 2 + 2 * 4 + 2 * 2
    assert all(str(path) in output for path in built)
    assert output.count("built in") == len(built)
    times = {path: path.stat().st_mtime_ns for path in built}
    recipe = load_recipe(recipe_file)
    for planned in Plan(recipe).phases:
        data = open_phase(planned, recipe, Workspace(folder))
        for row in range(len(data)):
            data.read([row])
    assert {path: path.stat().st_mtime_ns for path in indices(folder)} == times
    assert run_verb("prepare_index", ["--recipe", str(recipe_file)]) == 0
    assert "built in" not in capsys.readouterr().out


def test_every_index_is_read_from(run_folder: tuple[Path, Path]) -> None:
    """None is built that training does not open."""
    recipe_file, folder = run_folder
    assert run_verb("prepare_index", ["--recipe", str(recipe_file), "--phase", "many"]) == 0
    built = indices(folder)
    recipe = load_recipe(recipe_file)
    data = open_phase(Plan(recipe).phases[1], recipe, Workspace(folder))
    opened = {passes.index(passes.place(number)[0]).path for passes, number in map(data_of(data), range(len(data)))}
    assert opened == built


def data_of(data: Any) -> Any:
    return lambda row: (data.passes_of(row), int(data.blend.at([row])[1][0]))


def test_packed_indices(run_folder: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    recipe_file, folder = run_folder
    packed = ["--recipe", str(recipe_file), "--phase", "first", "--set", "phases.first.packing=best_fit"]
    assert run_verb("prepare_index", [*packed, "--explain"]) == 0
    assert "would run" in capsys.readouterr().out
    assert not indices(folder)
    assert run_verb("prepare_index", packed) == 0
    assert "% padding" in capsys.readouterr().out
    assert indices(folder)


def test_explain_builds_nothing(run_folder: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    recipe_file, folder = run_folder
    assert run_verb("prepare_index", ["--recipe", str(recipe_file), "--explain"]) == 0
    assert capsys.readouterr().out.count("would run") == 14
    assert not indices(folder)


def test_an_unknown_phase_is_named(run_folder: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb("prepare_index", ["--recipe", str(run_folder[0]), "--phase", "frist"]) == 2
    assert "did you mean first?" in capsys.readouterr().err


def test_it_needs_no_torch(run_folder: tuple[Path, Path]) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from megatron_snow.cli.main import run_verb\n"
        f"sys.exit(run_verb('prepare_index', ['--recipe', {str(run_folder[0])!r}]))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert indices(run_folder[1])
