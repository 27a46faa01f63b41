"""The Triton kernels' machine code for sm_90a against resources.json: no spills, wide accesses, few registers.

`python -m tests.kernels.resources --write` renews the record; what changed in it is then to be looked at.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECORD = Path(__file__).with_name("resources.json")
MOST_SHARED_MEMORY = 232_448  # bytes that a block can have on sm_90
STORES_NUMBERS_ONLY = ("cross_entropy, ", "sum_of_squares, ")  # a few a row or program


def failures(measured, recorded):
    """What is wrong, in words. Numbers are compared only where the same compiler made them."""
    found = [f"{name}: not measured" for name in recorded["kernels"] if name not in measured["kernels"]]
    for name, kernel in measured["kernels"].items():
        accesses, record = kernel["accesses"], recorded["kernels"].get(name)
        if kernel["stack"] or any(access.startswith(("LDL", "STL")) for access in accesses):
            found.append(f"{name}: spills, {kernel['stack']} bytes of stack")
        if kernel["shared_memory"] > MOST_SHARED_MEMORY:
            found.append(f"{name}: {kernel['shared_memory']} bytes of shared memory")
        if "LDG.128" not in accesses or not ("STG.128" in accesses or name.startswith(STORES_NUMBERS_ONLY)):
            found.append(f"{name}: no 128-bit loads or stores, {accesses}")
        if record is None:
            found.append(f"{name}: not recorded")
        elif measured["triton"] == recorded["triton"]:
            if kernel["registers"] > 1.1 * record["registers"]:
                found.append(f"{name}: {kernel['registers']} registers, {record['registers']} recorded")
            if accesses != record["accesses"]:
                found.append(f"{name}: accesses {accesses}, {record['accesses']} recorded")
    return found


@pytest.fixture(scope="module")
def recorded():
    return json.loads(RECORD.read_text(encoding="utf-8"))


def test_machine_code(recorded, tmp_path):
    """In a process of its own: it gives Triton a driver that knows nothing but an architecture."""
    triton = pytest.importorskip("triton", reason="Triton is not installed here")
    if not Path(triton.knobs.nvidia.cuobjdump.path).exists():
        pytest.skip("this build of Triton has no cuobjdump")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "0"}
    command = [sys.executable, "-m", "tests.kernels.resources"]
    run = subprocess.run(command, env=environment, cwd=RECORD.parents[2], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert failures(json.loads(run.stdout), recorded) == []


def change(record, **changes):
    """The record with one kernel changed."""
    changed = copy.deepcopy(record)
    changed["kernels"]["swiglu, bfloat16"].update(changes)
    return changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stack": 8}, "spills"),
        ({"accesses": {"LDG.128": 2, "LDL.32": 1, "STG.128": 1}}, "spills"),
        ({"shared_memory": 232_449}, "shared memory"),
        ({"accesses": {"LDG.64": 4, "STG.128": 1}}, "no 128-bit"),
        ({"accesses": {"LDG.128": 2, "STG.64": 2}}, "no 128-bit"),
        ({"accesses": {"LDG.128": 2, "LDG.32": 1, "STG.128": 1}}, "recorded"),
        ({"registers": 40}, "40 registers, 31 recorded"),
    ],
)
def test_a_worse_kernel_is_caught(recorded, changes, message):
    assert failures(recorded, recorded) == []
    found = failures(change(recorded, **changes), recorded)
    assert found
    assert all("swiglu, bfloat16" in line for line in found)
    assert any(message in line for line in found)


def test_missing_kernels_are_caught(recorded):
    fewer = copy.deepcopy(recorded)
    del fewer["kernels"]["swiglu, bfloat16"]
    assert failures(fewer, recorded) == ["swiglu, bfloat16: not measured"]
    assert failures(recorded, fewer) == ["swiglu, bfloat16: not recorded"]
