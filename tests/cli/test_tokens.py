"""train-tokenizer, preprocess-data and show-batch, one after the other as a user would."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_snow.cli.main import run_verb
from megatron_snow.config import Workspace, load_recipe
from megatron_snow.datasets import IndexedDataset, PhaseData
from megatron_snow.tokenizers import load_tokenizer

CONSTANT = {"shape": "constant", "peak": 0.1}
RECIPE = {
    "name": "small",
    "workspace": "runs/small",
    "model": {
        "num_layers": 1, "hidden_size": 8, "ffn_hidden_size": 8, "num_attention_heads": 1, "num_query_groups": 1, "seq_length": 64,
    },
    "tokenizer": {"vocab_size": 900, "train_bytes": 400_000},
    "parallel": {"processes": 2},
    "training": {"global_batch_size": 4, "micro_batch_size": 1},
    "phases": [
        {"name": "first", "data": [{"dataset": "general"}], "tokens": 2560, "lr": CONSTANT},
        {"name": "second", "data": [{"dataset": "general"}], "languages": {"C": 0.5}, "tokens": 1280, "lr": CONSTANT},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def run_folder(grouped_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(recipe, its run's folder) after train-tokenizer and preprocess-data."""
    root = tmp_path_factory.mktemp("run")
    recipe, folder = root / "recipe.yaml", root / "out"
    recipe.write_text(yaml.safe_dump(RECIPE))
    shutil.copytree(grouped_shards, Workspace(folder).corpus("grouped"))
    for split in ("held_out", "test"):
        (shards := Workspace(folder).corpus(split)).mkdir()
        shutil.copy(grouped_shards / "C-00000.parquet", shards)
    for verb in ("train_tokenizer", "preprocess_data"):
        assert run_verb(verb, ["--recipe", str(recipe), "--output", str(folder)]) == 0
    return recipe, folder


def test_a_recipe_leaves_model_and_datasets(run_folder: tuple[Path, Path]) -> None:
    workspace = Workspace(run_folder[1])
    assert load_tokenizer(workspace.tokenizer_model).vocab_size == 900
    assert {path.name for path in workspace.tokens("general").glob("*.idx")} == {"C.idx", "Python.idx"}
    for split in ("held_out", "test"):
        assert {path.name for path in workspace.tokens(split).glob("*.idx")} == {"C.idx"}


def test_a_recipe_says_which_engine_encodes(run_folder: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    recipe = ["--recipe", str(run_folder[0]), "--output", str(run_folder[1])]
    assert run_verb("preprocess_data", [*recipe, "--tokenizer-engine", "reference"]) == 0
    assert f"{Workspace(run_folder[1]).tokenizer_model}: encoded by reference: asked for" in capsys.readouterr().out
    assert run_verb("preprocess_data", [*recipe, "--tokenizer-engine", "fastokens"]) == 2
    assert "fastokens: not a tokenizer.json" in capsys.readouterr().err


def test_show_batch_prints_the_samples_that_training_reads(run_folder: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    recipe_file, folder = run_folder
    assert run_verb("show_batch", ["--recipe", str(recipe_file), "--output", str(folder), "--step", "12", "--rank", "1"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("step 12, phase second, its step 2 of 5, rank 1 of 2\n")  # the first phase has 2560 / (4 x 64) = 10 steps
    headings = [int(number) for number in re.findall(r"^=== sample (\d+)", output, flags=re.MULTILINE)]
    assert headings == [6, 7]  # rows 2 and 3 of the second batch of four
    recipe, workspace = load_recipe(recipe_file), Workspace(folder)
    data = PhaseData(recipe.phases[1], workspace=workspace, seq_length=64, samples=20, seed=recipe.seed)
    tokenizer = load_tokenizer(workspace.tokenizer_model)
    for number, block in zip(headings, re.split(r"^=== .*\n", output, flags=re.MULTILINE)[1:]):
        text = re.sub(r"^«.*»\n", "", block, flags=re.MULTILINE).replace("<file_sep>", "").replace("<|endoftext|>", "")
        assert re.sub(r"\s", "", text) == re.sub(r"\s", "", tokenizer.decode(data.sample(number).tolist()))
        origin = re.search(r"^«python:(\w+) (\S+) \((\S+)\), \d+ tokens»$", block, flags=re.MULTILINE)
        assert origin is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--step", "16"], "step 16: the recipe has steps 1 to 15"),
        (["--step", "0"], "step 0: the recipe has steps 1 to 15"),
        (["--step", "1", "--rank", "2"], "--rank 2: the recipe has 2 data-parallel ranks, 0 to 1"),
        (["--step", "1", "--set", "tokenizer.vocab_size=1000"], "tokenizer.model: 900 pieces, but tokenizer.vocab_size is 1000"),
        (["--step", "1", "--set", "phases.first.data.0.dataset=none"], "dataset none: no .idx in"),
    ],
)
def test_show_batch_refuses(run_folder: tuple[Path, Path], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert run_verb("show_batch", ["--recipe", str(run_folder[0]), "--output", str(run_folder[1]), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_files_without_a_recipe(code_documents: list[dict[str, Any]], grouped_shards: Path, tmp_path: Path) -> None:
    source, model = tmp_path / "code.jsonl", tmp_path / "x.model"
    source.write_text("".join(json.dumps({"text": document["content"]}) + "\n" for document in code_documents[:80]))
    assert run_verb("train_tokenizer", ["--input", str(source), "--output", str(model), "--vocab-size", "600"]) == 0
    megatron_flags = ["--tokenizer-type", "SentencePieceTokenizer", "--tokenizer-model", str(model), "--append-eod", "--workers", "2"]
    prefix = str(tmp_path / "code")
    assert run_verb("preprocess_data", ["--input", str(source), "--output-prefix", prefix, *megatron_flags, "--log-interval", "10"]) == 0
    dataset, tokenizer = IndexedDataset(Path(prefix + "_text_document")), load_tokenizer(model)
    assert tokenizer.decode(dataset[3].tolist()) in {document["content"] for document in code_documents}
    assert all(dataset[i][-1] == tokenizer.eod for i in range(len(dataset)))
    grouped = ["--input", f"{grouped_shards}/*.parquet", "--group-by", "language,repository", "--output-prefix", str(tmp_path / "grouped")]
    assert run_verb("preprocess_data", [*grouped, *megatron_flags]) == 0
    assert len(IndexedDataset(tmp_path / "grouped" / "Python")) == 10


@pytest.mark.parametrize(
    ("verb", "arguments", "message"),
    [
        ("train_tokenizer", [], "give --recipe FILE, or --input GLOB"),
        ("train_tokenizer", ["--input", "none-*.jsonl", "--output", "x"], "--input none-*.jsonl: no such file"),
        ("train_tokenizer", ["--input", __file__], "--output: missing"),
        ("train_tokenizer", ["--input", __file__, "--output", "x", "--vocab-size", "10"], "--vocab-size 10"),
        ("preprocess_data", [], "give --recipe FILE, or --input GLOB"),
        ("preprocess_data", ["--input", __file__, "--output-prefix", "x"], "--tokenizer-model: missing"),
        ("preprocess_data", ["--input", __file__, "--tokenizer-model", "none", "--output-prefix", "x"], "none: no such tokenizer model"),
        ("preprocess_data", ["--input", __file__, "--workers", "0"], "--workers 0"),
    ],
)
def test_wrong_options(capsys: pytest.CaptureFixture[str], verb: str, arguments: list[str], message: str) -> None:
    assert run_verb(verb, arguments) == 2
    assert message in capsys.readouterr().err


def test_the_verbs_need_no_torch(run_folder: tuple[Path, Path]) -> None:
    script = (
        "import sys\nfrom megatron_snow.cli.main import run_verb\n"
        f"code = run_verb('show_batch', ['--recipe', {str(run_folder[0])!r}, '--output', {str(run_folder[1])!r}, '--step', '1'])\n"
        "import megatron_snow.cli.train_tokenizer, megatron_snow.cli.preprocess_data\n"
        "assert not {'torch', 'transformers', 'megatron'} & set(sys.modules)\nsys.exit(code)"
    )
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL, check=False).returncode == 0
