"""Phases of every kind train, and a run that was stopped between steps ends where an unbroken one ends."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_snow.cli.main import run_verb
from megatron_snow.common.records import read_json_lines
from megatron_snow.config import Workspace, load_recipe
from megatron_snow.datasets import IndexedWriter, tokenize_shards
from megatron_snow.tokenizers import train_sentencepiece
from megatron_snow.training import Plan
from megatron_snow.training.data import BatchReader

KINDS = {
    "packed and joint": ["phases.first.packing=best_fit", "phases.second.packing=best_fit", "phases.second.repeat=joint"],
    "budgets and fim": [
        "phases.second={name: second, data: [{dataset: selected, tokens: 96, epochs: 4}], lr: {shape: constant, peak: 1.0e-3}}",
        "phases.first.data=[{dataset: general, tokens: 320, epochs: 1}, {dataset: selected}]",
        "phases.first.fim.rate=0.9",
        "phases.second.fim={rate: 0.5, unit: document}",
    ],
}


def steps_of(folder: Path) -> list[dict[str, Any]]:
    return [{key: line[key] for key in ("step", "tokens", "loss", "grad_norm")} for line in read_json_lines(Workspace(folder).metrics)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_and_resumes(tiny_run, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    options = ["--recipe", str(tiny_run.recipe), "--set", "evaluation={benchmarks: [], held_out_sequences: 0}", *KINDS[kind], "--output"]
    assert run_verb("pretrain", [*options, str(tmp_path / "unbroken")]) == 0
    assert "phase second: 12 samples of 32 tokens" in capsys.readouterr().out  # what is read is printed before it is
    assert run_verb("pretrain", [*options, str(tmp_path / "resumed"), "--until-phase", "first"]) == 0
    assert run_verb("pretrain", [*options, str(tmp_path / "resumed")]) == 0
    unbroken = steps_of(tmp_path / "unbroken")
    assert [line["step"] for line in unbroken] == list(range(1, 9))
    assert steps_of(tmp_path / "resumed") == unbroken
    assert unbroken[-1]["loss"] < unbroken[0]["loss"]


def test_what_fills_a_sample_up_is_no_target(tiny_run) -> None:  # type: ignore[no-untyped-def]
    recipe = load_recipe(tiny_run.recipe, ["phases.first.packing=best_fit"])
    reader, plan = BatchReader(recipe, tiny_run.workspace), Plan(recipe)
    batch = reader.read(plan.step(1), 0, 1)
    assert batch.mask is not None
    assert batch.mask.shape == (4, 32)
    assert batch.mask.sum() == sum(sum(span.count for span in reader.phase(plan.phases[0]).spans(i)) - 1 for i in range(4))
    assert reader.read(plan.step(6), 0, 1).mask is None  # the second phase is cut, not packed: every place is a target


def test_a_dtype_too_small_for_the_vocabulary(
    make_tiny_run: Callable[[Path], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_tiny_run(tmp_path)
    with IndexedWriter(run.workspace.tokens("general") / "Go", np.uint8) as writer:
        writer.append([5] * 500)
        writer.end_document()
    assert run_verb("pretrain", ["--recipe", str(run.recipe), "--check"]) == 2
    error = capsys.readouterr().err
    assert "Go.idx: tokens of uint8 hold no id over 255, tokenizer.vocab_size is 1,024; it was made with another tokenizer" in error


def test_a_dataset_of_another_tokenizer(
    make_tiny_run: Callable[[Path], Any],
    code_documents: list[dict[str, Any]],
    grouped_shards: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As many pieces, other ones: only the manifest can tell."""
    run, other = make_tiny_run(tmp_path), tmp_path / "other.model"
    train_sentencepiece((document["content"] for document in code_documents[:60]), 1024, other)
    shutil.rmtree(run.workspace.tokens("selected"))
    tokenize_shards([grouped_shards / "Python-00001.parquet"], other, run.workspace.tokens("selected"))
    assert run_verb("pretrain", ["--recipe", str(run.recipe), "--check"]) == 2
    assert "tokens/selected: made with another tokenizer than" in capsys.readouterr().err
    assert run_verb("pretrain", ["--recipe", str(run.recipe), "--check", "--until-phase", "first"]) == 0
