"""A whole run in an interleaved layout, with documents kept apart and activations recomputed, is the run of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatron_snow.common.records import read_json_lines

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
# Samples of 256 tokens, of which some have a border of documents within.
MODEL = ["model.num_layers=4", "model.seq_length=256", "training.micro_batch_size=1", "phases.first.tokens=6144"]
DOCUMENTS = ["training.document_attention=true", "training.reset_positions=true"]
INTERLEAVED = ["parallel.processes=2", "parallel.pipeline=2", "parallel.virtual_pipeline=2", "training.recompute=full"]


def losses(run, output: Path, settings: list[str], launcher: list[str] | None = None) -> list[Any]:  # type: ignore[no-untyped-def]
    """The loss of every step and the held-out losses of every phase."""
    command = [sys.executable, *(launcher or []), "-m", "megatron_snow", "pretrain", "--recipe", str(run.recipe), "--output", str(output)]
    options = [part for setting in settings for part in ("--set", setting)]
    subprocess.run([*command, *options], env=ENVIRONMENT, check=True, capture_output=True, timeout=200)
    steps = [line["loss"] for line in read_json_lines(output / "metrics.jsonl")]
    return steps + [loss for line in read_json_lines(output / "held_out.jsonl") for loss in line["losses"].values()]


@pytest.mark.slow
def test_an_interleaved_run_is_the_run_of_one_process(tiny_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    one = losses(tiny_run, tmp_path / "one", MODEL + DOCUMENTS)
    two = losses(tiny_run, tmp_path / "two", MODEL + DOCUMENTS + INTERLEAVED, TWO)
    assert two == pytest.approx(one, rel=5e-6)
    plain = losses(tiny_run, tmp_path / "plain", MODEL)
    assert max(abs(a / b - 1) for a, b in zip(one, plain)) > 1e-4
