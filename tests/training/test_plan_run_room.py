"""A run without room is refused before step 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_snow.cli.main import run_verb
from megatron_snow.training.planning import room


def test_pretrain_tells_what_it_lacks(tiny_run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    """Layers of 440 billion parameters. The data are there and every other rule is kept."""
    check = ["--recipe", str(tiny_run.recipe), "--check", "--set"]
    assert run_verb("pretrain", [*check, "model.hidden_size=65536", "model.ffn_hidden_size=1048576"]) == 2
    error = capsys.readouterr().err
    assert "too little memory: " in error
    assert "training.micro_batch_size (2)" in error
    assert run_verb("pretrain", [*check, "seed=7"]) == 0


def test_ranks_of_a_machine_share_it(tiny_recipe, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    recipe = tiny_recipe(processes=4)
    need = room.highest(recipe, on_gpu=False).peak
    monkeypatch.setattr(room, "machine_bytes", lambda: 3 * need)
    with pytest.raises(ValueError, match="for each of 4 ranks at the highest point, and the machine has"):
        room.check_room(recipe)
    monkeypatch.setenv("NNODES", "2")  # two of them run elsewhere
    room.check_room(recipe)


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(room, "_CONTAINER_LIMIT", limit)
    whole = room.machine_bytes()
    limit.write_text("1000000\n")
    assert room.machine_bytes() == 1_000_000
    limit.write_text("max\n")
    assert room.machine_bytes() == whole
