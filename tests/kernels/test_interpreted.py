"""The proofs of the Triton kernels, in a process where Triton interprets: it reads TRITON_INTERPRET once, as it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "interpreted"


def proofs(marker: str, *what: str) -> str:
    """What pytest prints in a process with the interpreter on."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "MSNOW_KERNELS": "triton", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-m", marker, "-p", "no:cacheprovider", "-W", "ignore::RuntimeWarning", *what]
    run = subprocess.run(command, env=environment, cwd=FOLDER.parents[2], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2_000:]
    return run.stdout


def test_kernels_against_float64():
    pytest.importorskip("triton")
    assert " passed" in proofs("not slow", str(FOLDER))


@pytest.mark.slow
def test_forty_cases_an_op_and_dtype():
    pytest.importorskip("triton")
    assert " passed" in proofs("slow", str(FOLDER))
