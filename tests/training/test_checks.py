"""What is refused before step 1: one message with file, key, value and remedy, exit code 2, no traceback."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from megatron_snow.cli.main import run_verb
from megatron_snow.datasets import IndexedWriter


@pytest.fixture
def run(make_tiny_run: Callable, tmp_path: Path):  # type: ignore[no-untyped-def, type-arg]
    return make_tiny_run(tmp_path)


def refused(run, capsys: pytest.CaptureFixture[str], *options: str) -> str:  # type: ignore[no-untyped-def]
    assert run_verb("pretrain", ["--recipe", str(run.recipe), "--check", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("error: ") == 1
    return captured.err


def test_whole_run_passes_and_says_what_it_will_do(run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert run_verb("pretrain", ["--recipe", str(run.recipe), "--check", "--set", "parallel.processes=2"]) == 0
    assert capsys.readouterr().out.startswith("2 processes: 8 steps, 1,024 tokens in first, second; 0 steps done")


def test_missing_dataset(run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    for path in run.workspace.tokens("selected").iterdir():
        path.unlink()
    message = refused(run, capsys)
    assert f"{run.workspace.tokens('selected')}: dataset 'selected' is missing" in message
    assert f"megatron-snow run-recipe --recipe {run.recipe} --output {run.workspace.root}" in message
    # The first phase does not need it.
    assert run_verb("pretrain", ["--recipe", str(run.recipe), "--check", "--until-phase", "first"]) == 0


def test_empty_dataset_is_left_to_the_blend(run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    for path in run.workspace.tokens("selected").iterdir():
        path.unlink()
    (run.workspace.tokens("selected") / "manifest.json").write_text("{}")
    assert run_verb("pretrain", ["--recipe", str(run.recipe), "--check"]) == 0


def test_nothing_was_made_yet(run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    message = refused(run, capsys, "--set", f"workspace={tmp_path / 'empty'}", "--output", str(tmp_path / "out"))
    assert "dataset 'general' is missing" in message
    assert f"--output {tmp_path / 'empty'}" in message


def test_output_without_tokens_uses_the_recipes_workspace(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert run_verb("pretrain", ["--recipe", str(run.recipe), "--check", "--output", str(tmp_path / "out")]) == 0


def test_tokenizer_of_another_size(run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    message = refused(run, capsys, "--set", "tokenizer.vocab_size=2048")
    assert f"{run.workspace.tokenizer_model}: the tokenizer has 1024 pieces, tokenizer.vocab_size is 2048; set it to 1024" in message


def test_missing_tokenizer(run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    run.workspace.tokenizer_model.unlink()
    assert f"{run.workspace.tokenizer_model}: the tokenizer is missing" in refused(run, capsys)
    assert "no.model: the tokenizer is missing" in refused(run, capsys, "--set", "tokenizer.model=no.model")


def test_token_beyond_the_vocabulary(run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    with IndexedWriter(run.workspace.tokens("general") / "Go", np.uint16) as writer:
        writer.append([*[5] * 500, 1024])
        writer.end_document()
    assert "Go.bin: token 1024 at 500 is not one of 0 to 1023, tokenizer.vocab_size" in refused(run, capsys)


def test_damaged_index(run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    index = run.workspace.tokens("general") / "Python.idx"
    index.write_bytes(index.read_bytes()[:-3])
    assert str(index) in refused(run, capsys)


def test_missing_held_out_tokens(run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    for path in run.workspace.tokens("held_out").iterdir():
        path.unlink()
    assert "set evaluation.held_out_sequences to 0" in refused(run, capsys)
    assert run_verb("pretrain", ["--recipe", str(run.recipe), "--check", "--set", "evaluation.held_out_sequences=0"]) == 0


def test_unknown_phase_and_benchmark(run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert "--until-phase frst: no such phase; did you mean first?" in refused(run, capsys, "--until-phase", "frst")
    assert "humanevel" in refused(run, capsys, "--set", "evaluation.benchmarks=[humanevel]")


def test_ranks_after_the_first_keep_silent(run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the head start of the rank that speaks
    with pytest.raises(SystemExit, match="2"):
        run_verb("pretrain", ["--recipe", str(run.recipe), "--set", "tokenizer.vocab_size=2048"])
    assert capsys.readouterr().err == ""


def test_too_few_processes_for_the_layout(run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    changes = ["parallel.processes=2", "parallel.tensor=2"]
    assert run_verb("pretrain", ["--recipe", str(run.recipe), "--set", *changes]) == 2
    assert "torchrun --nproc-per-node 2" in capsys.readouterr().err


def test_another_number_of_processes_breaks_rules(run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """All of them are told at once, with the number that the recipe wants."""
    monkeypatch.setenv("WORLD_SIZE", "7")
    layout = ["parallel.processes=2", "parallel.tensor=2"]
    assert run_verb("pretrain", ["--recipe", str(run.recipe), "--set", *layout]) == 2
    error = capsys.readouterr().err
    assert "7 processes were started, the recipe wants 2: torchrun --nproc-per-node 2" in error
    assert "parallel.processes: 7 is not a multiple of tensor x pipeline x context = 2; the nearest are 6 and 8" in error
    assert "training.global_batch_size: 4 is not a multiple of micro_batch_size 2 x data-parallel ranks 3; use 6" in error
