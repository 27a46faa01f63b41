"""What may change between two runs of one folder, and what is refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from megatron_snow.checkpoint import Checkpoint, CheckpointStore
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import read_json_lines
from megatron_snow.config import Blend, Workspace, load_recipe, save_recipe
from megatron_snow.training import prepare
from megatron_snow.training.changes import record_changes
from megatron_snow.training.data import fingerprints
from megatron_snow.training.pretrain import pretrain
from megatron_snow.training.telemetry import TIMED


@pytest.fixture
def begun(make_tiny_run: Callable, tmp_path: Path):  # type: ignore[no-untyped-def, type-arg]
    """A run with a checkpoint at step 4, in the first of two phases (its weights are no matter here)."""
    return at_step_4(make_tiny_run(tmp_path))


def at_step_4(run, *changes: str):  # type: ignore[no-untyped-def]
    prepared = prepare(load_recipe(run.recipe, changes), run.workspace)

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
        "phases.second.sample_cursor=carry",
        "phases.second.global_batch_size=8",
        "training.global_batch_size=8 phases.first.global_batch_size=4",  # what is done keeps its own
        "phases.first.tokens=1280 phases.first.lr.horizon_tokens=640",  # longer, along the same curve
        "phases.first.tokens=513 phases.first.lr.horizon_tokens=640",  # ended after the next step
    ],
)
def test_the_future_may_change(begun, change: str) -> None:  # type: ignore[no-untyped-def]
    assert resume(begun, *change.split()) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seed=8", "seed: it was 7, the recipe says 8"),
        ("model.hidden_size=64", "model.hidden_size: it was 32, the recipe says 64"),
        ("training.global_batch_size=8", "training.global_batch_size: it was 4, the recipe says 8"),
        ("training.optimizer.beta2=0.99", "training.optimizer.beta2: it was 0.95, the recipe says 0.99"),
        ("phases.first.lr.peak=1.0e-2", "phases.first.lr.peak: it was 0.005, the recipe says 0.01"),
        ("phases.second.global_batch_size=8 training.global_batch_size=8", "training.global_batch_size: it was 4, the recipe says 8"),
        ("phases.first.global_batch_size=8", "phases.first.global_batch_size: it was 4, the recipe says 8"),
        (
            "phases.first.tokens=1280",
            "phases.first.tokens: it was 640, the recipe says 1280; step 4 was done at a learning rate of 0.003875, which would be",
        ),
        (
            "phases.first.lr.warmup_tokens=128",
            "it was 256, the recipe says 128; step 2 was done at a learning rate of 0.0025",
        ),
        ("phases.first.lr.shape=linear", "phases.first.lr.shape: it was 'cosine', the recipe says 'linear'; step 4 was done"),
        (
            "phases.first.tokens=384",
            "it was 640, the recipe says 384; 4 steps of the phase are done; its horizon must be 513 tokens or more",
        ),
        ("phases.first.optimizer_state=reset", "phases.first.optimizer_state: it was 'carry', the recipe says 'reset'"),
        ("phases.first.sample_cursor=reset phases.first.packing=best_fit", "phases.first.packing: it was 'concatenate'"),
        ("phases.first.data.0.dataset=selected", "phases.first.data"),
        ("phases.first.name=other", "phases.first.name: it was 'first', the recipe says 'other'"),
    ],
)
def test_the_past_may_not(begun, change: str, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match="the run so far was trained otherwise") as refusal:
        resume(begun, *change.split())
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


STABLE = "phases.first.lr={shape: wsd, peak: 5.0e-3, warmup_tokens: 128, decay_tokens: 128}"
MORE = "phases.first.tokens=1280"


def test_a_stable_phase_may_be_longer(make_tiny_run: Callable, tmp_path: Path) -> None:  # type: ignore[type-arg]
    """And end in another decay, or as another curve: what is done is the same."""
    run = at_step_4(make_tiny_run(tmp_path), STABLE)
    assert resume(run, STABLE, MORE) == 4
    assert resume(run, STABLE, "phases.first.lr.decay=cosine") == 4
    points = "[{tokens: 0, rate: 0}, {tokens: 128, rate: 5.0e-3}, {tokens: 512, rate: 5.0e-3}, {tokens: 640, rate: 1.0e-3}]"
    assert resume(run, f"phases.first.lr={{shape: piecewise, points: {points}}}") == 4
    with pytest.raises(UserError, match=r"step 4 was done at a learning rate of 0\.005, which would be"):
        resume(run, STABLE, "phases.first.lr.decay_tokens=384")


@pytest.mark.parametrize(
    "data",
    [
        "phases.first.data=[{dataset: general, tokens: 320, epochs: 1}, {dataset: selected}]",  # the rest of a longer phase is more
        "phases.first.repeat=joint",
    ],
)
def test_a_horizon_by_which_samples_go(make_tiny_run: Callable, tmp_path: Path, data: str) -> None:  # type: ignore[type-arg]
    run = at_step_4(make_tiny_run(tmp_path), STABLE, data)
    longer = "phases.first.tokens=640000"
    with pytest.raises(
        UserError, match=r"phases\.first\.tokens: it was 640, the recipe says 640000; its steps so far would have read other"
    ):
        resume(run, STABLE, data, longer)


def test_the_end_of_a_phase_is_still_its_own(begun) -> None:  # type: ignore[no-untyped-def]
    """Once the next phase has begun nothing of it may change."""
    recipe = begun.recipe.read_text().replace("tokens: 640", "tokens: 384")
    begun.recipe.write_text(recipe)
    shutil.rmtree(begun.workspace.checkpoints)
    at_step_4(begun)  # step 1 of the second phase
    with pytest.raises(UserError, match=r"phases\.first\.tokens: it was 384, the recipe says 512; its steps are done"):
        resume(begun, "phases.first.tokens=512", "phases.first.lr.horizon_tokens=384")


def newest(run) -> Checkpoint:  # type: ignore[no-untyped-def]
    checkpoint = CheckpointStore(run.workspace.checkpoints, 2).newest()
    assert checkpoint is not None
    return checkpoint


def test_changes_are_recorded_once(begun, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    output = Workspace(tmp_path / "output")
    assert record_changes(load_recipe(begun.recipe), newest(begun), output) == []
    assert not output.recipe_changes.exists()
    changed = load_recipe(begun.recipe, ["phases.second.lr.peak=1.0e-4", "training.save_interval=7"])
    told = record_changes(changed, newest(begun), output)
    assert "phases.second.lr.peak: it was 0.005, after step 4 it is 0.0001" in told
    assert record_changes(changed, newest(begun), output) == []  # broken off before the next checkpoint
    assert record_changes(load_recipe(begun.recipe, ["phases.second.tokens=256"]), newest(begun), output)
    first, second = read_json_lines(output.recipe_changes)
    assert first["step"] == 4
    assert first["changes"] == {
        "training.save_interval": {"was": 2, "is": 7},
        "phases.second.lr.peak": {"was": 0.005, "is": 0.0001},
    }
    assert datetime.now(UTC) - datetime.fromisoformat(first["date"]) < timedelta(minutes=10)
    assert second["changes"] == {"phases.second.tokens": {"was": 384, "is": 256}}


def test_changed_while_running_equals_the_changed_recipe_from_the_start(tiny_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Stopped in the stable part of a phase, made longer and resumed: bit for bit the run that was long from the start."""
    base = ["evaluation={benchmarks: [], held_out_sequences: 0}", STABLE, "phases.second.lr.peak=1.0e-3"]
    stop = "phases.first.tokens=512"  # the stable part of the whole, with no decay yet
    constant = "phases.first.lr={shape: constant, peak: 5.0e-3, warmup_tokens: 128}"
    changed, whole = Workspace(tmp_path / "changed"), Workspace(tmp_path / "whole")
    assert pretrain(load_recipe(tiny_run.recipe, [*base, constant, stop]), changed, until_phase="first") == 4
    assert pretrain(load_recipe(tiny_run.recipe, [*base, MORE]), changed, until_phase="first") == 10
    assert pretrain(load_recipe(tiny_run.recipe, [*base, MORE]), whole, until_phase="first") == 10
    one, other = ([line | dict.fromkeys(TIMED, 0) for line in read_json_lines(each.metrics)] for each in (changed, whole))
    assert one == other
    (record,) = read_json_lines(changed.recipe_changes)
    assert record["step"] == 4
    assert record["changes"]["phases.first.tokens"] == {"was": 512, "is": 1280}
    assert not whole.recipe_changes.exists()


def test_a_row_of_a_table_starts_from_the_others_first_phase(tiny_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A copy of the folder at the end of phase 1 and a recipe of one changed line: the past is shared, the second phase another one."""
    quick = "evaluation: {benchmarks: [], held_out_sequences: 0}"
    (tmp_path / "one.yaml").write_text(f"base: {tiny_run.recipe}\nset: {{{quick}}}\n")
    (tmp_path / "row.yaml").write_text("base: one.yaml\nset: {phases.second.lr: {shape: constant, peak: 5.0e-4}}\n")
    one, row = Workspace(tmp_path / "one"), Workspace(tmp_path / "row")
    assert pretrain(load_recipe(tmp_path / "one.yaml"), one, until_phase="first") == 5
    shutil.copytree(one.root, row.root)
    assert pretrain(load_recipe(tmp_path / "row.yaml"), row) == 8
    lines = list(read_json_lines(row.metrics))
    assert lines[:5] == list(read_json_lines(one.metrics))
    assert [line["lr"] for line in lines[5:]] == [5.0e-4] * 3
    (record,) = read_json_lines(row.recipe_changes)
    assert record["step"] == 5
    assert record["changes"]["phases.second.lr.shape"] == {"was": "linear", "is": "constant"}
    assert record["changes"]["name"] == {"was": "one", "is": "row"}
