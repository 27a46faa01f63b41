"""What may change between two runs of one folder, and what is refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.config import Blend, Workspace, load_recipe, save_recipe
from megatron_snow.training import prepare
from megatron_snow.training.data import fingerprints


@pytest.fixture
def begun(make_tiny_run: Callable, tmp_path: Path):  # type: ignore[no-untyped-def, type-arg]
    """A run with a checkpoint at step 4, in the first of two phases (its weights are no matter here)."""
    run = make_tiny_run(tmp_path)
    prepared = prepare(load_recipe(run.recipe), run.workspace)

    def write(folder: Path) -> None:
        save_recipe(prepared.recipe, folder / "recipe.yaml")
        shutil.copyfile(prepared.tokenizer_model, folder / "tokenizer.model")

    prepared.store.save(4, write, {"data": fingerprints([Blend("general")], run.workspace)}, keep_forever=False)
    return run


def resume(run, *changes: str) -> int:  # type: ignore[no-untyped-def]
    return prepare(load_recipe(run.recipe, changes), run.workspace).done


@pytest.mark.parametrize(
    "change",
    [
        "phases.second.lr.peak=1.0e-4",
        "phases.second.tokens=640",
        "training.micro_batch_size=4",
        "training.save_interval=1",
        "parallel.processes=2",
        "evaluation.held_out_sequences=1",
        "corpus.max_bytes=5",
    ],
)
def test_the_future_may_change(begun, change: str) -> None:  # type: ignore[no-untyped-def]
    assert resume(begun, change) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seed=8", "seed: it was 7, the recipe says 8"),
        ("model.hidden_size=64", "model.hidden_size: it was 32, the recipe says 64"),
        ("training.global_batch_size=8", "training.global_batch_size: it was 4, the recipe says 8"),
        ("training.optimizer.beta2=0.99", "training.optimizer.beta2: it was 0.95, the recipe says 0.99"),
        ("phases.first.lr.peak=1.0e-2", "phases.first.lr.peak: it was 0.005, the recipe says 0.01"),
        ("phases.first.tokens=1280", "phases.first.tokens: it was 640, the recipe says 1280"),
        ("phases.first.data.0.dataset=selected", "phases.first.data"),
        ("phases.first.name=other", "phases.first.name: it was 'first', the recipe says 'other'"),
    ],
)
def test_the_past_may_not(begun, change: str, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match="the run so far was trained otherwise") as refusal:
        resume(begun, change)
    assert message in str(refusal.value)
    assert "step-00000004" in str(refusal.value)
    assert "another --output" in str(refusal.value)


def test_other_tokens_are_refused(begun) -> None:  # type: ignore[no-untyped-def]
    general: Path = begun.workspace.tokens("general")
    for suffix in (".bin", ".idx"):
        (general / f"C{suffix}").unlink()
    with pytest.raises(UserError, match=r"dataset general: .* holds other tokens"):
        resume(begun)


def test_other_tokenizer_is_refused(begun, code_documents: list, tmp_path: Path) -> None:  # type: ignore[no-untyped-def, type-arg]
    from megatron_snow.tokenizers import train_sentencepiece

    other = Workspace(tmp_path / "other").tokenizer_model
    train_sentencepiece([document["content"] for document in code_documents[:40]], 1024, other)
    with pytest.raises(UserError, match="is not the tokenizer of the checkpoint"):
        resume(begun, f"tokenizer.model={other}")


def test_damaged_recipe_in_the_newest_checkpoint_is_no_change(begun) -> None:  # type: ignore[no-untyped-def]
    (begun.workspace.checkpoints / "step-00000004" / "recipe.yaml").write_text("seed: 9")
    assert resume(begun) == 0
