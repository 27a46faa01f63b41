"""trace-tokens and take-down, as a user calls them on a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from megatron_snow.cli.main import run_verb
from megatron_snow.config import Workspace, load_recipe
from megatron_snow.datasets import IndexedDataset, Lineage, tokenize_shards
from megatron_snow.pipeline import shards_in
from megatron_snow.tokenizers import load_tokenizer
from megatron_snow.training import Plan
from megatron_snow.training.data import BatchReader

CONSTANT = {"shape": "constant", "peak": 0.1}
RECIPE = {
    "name": "small",
    "workspace": "runs/small",
    "model": {
        "num_layers": 1, "hidden_size": 8, "ffn_hidden_size": 8, "num_attention_heads": 1, "num_query_groups": 1, "seq_length": 256,
    },
    "tokenizer": {"vocab_size": 1024},
    "training": {"global_batch_size": 4, "micro_batch_size": 1},
    "phases": [
        {"name": "first", "data": [{"dataset": "general"}], "tokens": 102_400, "lr": CONSTANT},
        {"name": "second", "data": [{"dataset": "general"}], "languages": {"C": 0.5}, "tokens": 51_200, "lr": CONSTANT},
    ],
}  # fmt: skip
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def a_run(grouped_shards: Path, code_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Workspace]:
    """(options that name the run, its folder)."""
    root = tmp_path_factory.mktemp("run")
    (root / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    workspace = Workspace(root / "out")
    workspace.tokenizer_folder.mkdir(parents=True)
    shutil.copyfile(code_tokenizer, workspace.tokenizer_model)
    tokenize_shards(shards_in(grouped_shards), code_tokenizer, workspace.tokens("general"))
    return ["--recipe", str(root / "recipe.yaml"), "--output", str(workspace.root)], workspace


@pytest.fixture
def answers(capsys: Capture) -> Callable[..., list[dict[str, object]]]:
    def ask(*options: str) -> list[dict[str, object]]:
        capsys.readouterr()
        assert run_verb("trace_tokens", [*options, "--json"]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return ask


def test_a_token_leads_to_its_file_and_its_text(
    a_run: tuple[list[str], Workspace], answers: Callable[..., list[dict[str, object]]], code_tokenizer: Path, capsys: Capture
) -> None:
    prefix, tokenizer = a_run[1].tokens("general") / "Python", load_tokenizer(code_tokenizer)
    origin = Lineage(prefix).at(50_000)
    (answer,) = answers("--dataset", str(prefix), "--token", "50000", "--tokenizer-model", str(code_tokenizer), "--context", "8")
    assert answer["file"] == vars(origin)
    assert answer["place"] == 50_000 - origin.token_start
    text = IndexedDataset(prefix).read(49_992, 17).tolist()
    assert f"{answer['before']}{answer['text']}{answer['after']}" == tokenizer.decode(text)
    separator = origin.token_start + origin.tokens
    shown = answers("--dataset", str(prefix), "--token", str(separator), "--tokenizer-model", str(code_tokenizer))[0]
    assert (shown["text"], shown["after"], shown["place"]) == ("<file_sep>", "", origin.tokens)
    assert run_verb("trace_tokens", ["--dataset", str(prefix), "--token", "50000", str(separator)]) == 0
    printed = capsys.readouterr().out
    assert f"{origin.repository} {origin.path} (Python, PSF-2.0" in printed
    assert "the separator after it" in printed


def test_files_lead_to_tokens_samples_and_steps(
    a_run: tuple[list[str], Workspace], answers: Callable[..., list[dict[str, object]]]
) -> None:
    options, workspace = a_run
    found = answers(*options, "--repository", "python:json", "--path", "dec*.py")
    assert [file["file"]["path"] for file in found] == ["decoder.py"]  # type: ignore[index]
    file = Lineage(workspace.tokens("general") / "Python").at(found[0]["file"]["token_start"])  # type: ignore[index]
    assert answers(*options, "--id", file.id) == found
    recipe = load_recipe(options[1])
    reader, plan = BatchReader(recipe, workspace), Plan(recipe)
    for use, planned in zip(found[0]["read"], plan.phases, strict=True):  # type: ignore[call-overload]
        data, expected = reader.phase(planned), []
        for i in range(planned.samples):
            spans = data.spans(i) if data.locate(i)[0].language == "Python" else []
            if any(
                span.first_token < file.token_start + file.tokens and span.first_token + span.count > file.token_start for span in spans
            ):
                expected.append(i)
        assert use["samples"] == expected
        assert all(i in plan.step(step).samples for i, step in zip(use["samples"], use["steps"], strict=True))
    assert any(use["samples"] for use in found[0]["read"])  # type: ignore[attr-defined]


def test_a_run_under_way_is_asked_of_the_phases_whose_data_is_made(
    a_run: tuple[list[str], Workspace], answers: Callable[..., list[dict[str, object]]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    later = {"name": "later", "data": [{"dataset": "synthetic"}], "tokens": 51_200, "lr": CONSTANT}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "phases": [*RECIPE["phases"], later]}))  # type: ignore[misc]
    asked = ("--output", str(a_run[1].root), "--repository", "python:json", "--path", "dec*.py")
    found = answers("--recipe", str(tmp_path / "recipe.yaml"), *asked)
    assert found == answers(*a_run[0][:2], *asked)
    assert "phase later: dataset synthetic is not made yet" in caplog.text


def test_a_takedown_names_samples_steps_and_checkpoints(a_run: tuple[list[str], Workspace], tmp_path: Path, capsys: Capture) -> None:
    options, workspace = a_run
    for step in (1, 100):
        (workspace.checkpoints / f"step-{step:08d}").mkdir(parents=True)
        (workspace.checkpoints / f"step-{step:08d}" / "COMMITTED").touch()
    names = tmp_path / "withdrawn.txt"
    names.write_text("# asked for on Monday\npython:json\npython:xml  # all of it\n")
    command = ["--dataset", str(workspace.tokens("general")), "--output", str(tmp_path / "new"), "--repositories", str(names)]
    assert run_verb("take_down", [*command, "--workers", "2", *options[:2], "--run", str(workspace.root)]) == 0
    printed = capsys.readouterr().out
    assert "files with" in printed
    assert "read by phase first" in printed
    uses = json.loads((tmp_path / "new" / "takedown.json").read_text())["read_by"]
    assert [use["phase"] for use in uses] == ["first", "second"]
    assert all(use["samples_read"] == len(use["samples"]) > 0 for use in uses)
    assert uses[0]["last_step"] <= 100 < uses[1]["first_step"]
    assert uses[0]["first_step"] > 1
    assert [use["checkpoints"] for use in uses] == [["step-00000100"], []]
    lineage = Lineage(tmp_path / "new" / "Python")
    left = {origin.repository for origin in lineage.between(0, lineage.num_tokens)}
    assert "python:email" in left
    assert not left & {"python:json", "python:xml"}
    assert run_verb("trace_tokens", ["--dataset", str(tmp_path / "new"), "--repository", "python:json"]) == 2
    assert "--repository python:json: no file has it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "options", "message"),
    [
        ("trace_tokens", ["--repository", "x"], "give --dataset PATH, or --recipe FILE"),
        ("trace_tokens", ["--dataset", "DATA"], "nothing is named"),
        ("trace_tokens", ["--dataset", "DATA", "--token", "1"], "of which dataset"),
        ("trace_tokens", ["--dataset", "DATA/Python", "--token", "99999999"], "--token 99999999: DATA/Python has tokens 0 to"),
        ("trace_tokens", ["--dataset", "DATA/Java", "--token", "1"], "no dataset there"),
        ("trace_tokens", ["--dataset", "DATA", "--path", "*.py"], "of which repository"),
        ("take_down", ["--dataset", "DATA", "--output", "NEW", "--repository", "python:jsn"], "did you mean python:json?"),
        ("take_down", ["--dataset", "DATA", "--output", "NEW", "--documents", "FILE"], "is no id"),
    ],
)
def test_mistakes_are_named(
    a_run: tuple[list[str], Workspace], tmp_path: Path, capsys: Capture, verb: str, options: list[str], message: str
) -> None:
    (tmp_path / "ids.txt").write_text("not-an-id\n")
    data = str(a_run[1].tokens("general"))
    places = {"DATA": data, "NEW": str(tmp_path / "new"), "FILE": str(tmp_path / "ids.txt")}
    for word, place in places.items():
        options = [option.replace(word, place) for option in options]
    assert run_verb(verb, options) == 2
    assert message.replace("DATA", data) in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
