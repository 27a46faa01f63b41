"""Copies and late verification in real runs, and copies that fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_snow.checkpoint import CheckpointStore, read_checkpoint
from megatron_snow.common.records import read_json_lines
from megatron_snow.config import Training
from megatron_snow.training.uploading import CheckpointCopier


def train(run, output: Path, *changes: str) -> subprocess.CompletedProcess[str]:  # type: ignore[no-untyped-def]
    options = ["--recipe", str(run.recipe), "--output", str(output), "--set", "evaluation.held_out_sequences=0", "evaluation.benchmarks=[]"]
    return subprocess.run(
        [sys.executable, "-m", "megatron_snow", "pretrain", *options, *changes],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_a_run_copies_what_it_saves_and_goes_on_from_a_checkpoint_verified_meanwhile(tiny_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Steps 2 to 8 in three commands: the copies, a damaged checkpoint found before anything is saved on it, the same command again."""
    output, there = tmp_path / "run", tmp_path / "there"
    changes = [f"training.checkpoint_copy=file://{there}", "training.verify_checkpoints=meanwhile", "training.keep_checkpoints=1"]
    result = train(tiny_run, output, *changes, "--until-phase", "first")
    assert result.returncode == 0, result.stderr
    for step in (2, 4, 5):  # also those that retention has taken since
        assert read_checkpoint(there / f"step-{step:08d}").step == step
    store = CheckpointStore(output / "checkpoints", 1)
    kept = store.steps()
    shard = next((store.folder(5) / "model").glob("*.distcp"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 4
    shard.write_bytes(content)
    result = train(tiny_run, output, *changes)
    assert result.returncode == 2
    assert f"{shard}: its digest differs" in result.stderr
    assert store.steps() == [step for step in kept if step != 5]
    steps = [line["step"] for line in read_json_lines(output / "metrics.jsonl")]
    assert steps == list(range(1, 7))  # step 6 was done on it, and not saved


def test_failed_copies_are_loud_and_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the folder of the copies should be lies a file; then it is taken away."""
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    store.save(10, lambda folder: (folder / "weights").write_bytes(b"w" * 1000), {}, keep_forever=False)  # type: ignore[arg-type, return-value]
    there = tmp_path / "there"
    there.write_text("in the way")
    training = Training(global_batch_size=1, micro_batch_size=1, checkpoint_copy=f"file://{there}")
    copier = CheckpointCopier(store, training)
    copier.close()
    errors = capsys.readouterr().err
    assert f"WARNING: {store.folder(10)} was not copied to file://{there}: " in errors
    assert "training goes on" in errors
    assert not copier.steps_in_use()
    there.unlink()
    CheckpointCopier(store, training).close()  # the next start
    assert capsys.readouterr().err == ""
    assert read_checkpoint(there / "step-00000010").step == 10
