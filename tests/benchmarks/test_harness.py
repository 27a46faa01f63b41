"""The harness measures what it says: CPU of children, memory of the command alone, failures told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.harness import Result, Usage, best, run

SPIN = "import time\nwhile time.process_time() < 0.4: pass\n"


def test_children_count_and_the_harness_own_memory_does_not() -> None:
    ballast = bytearray(300_000_000)
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPIN!r}], check=True)"
    usage = run([sys.executable, "-c", nested])
    assert 0.4 <= usage.cpu_seconds < 3
    assert usage.wall_seconds > 0
    assert 1_000_000 < usage.peak_bytes < 150_000_000 < len(ballast)


def test_memory_of_a_child_is_seen() -> None:
    assert run([sys.executable, "-c", "x = b'1' * 200_000_000"]).peak_bytes > 200_000_000


def test_failure_is_told_with_its_output() -> None:
    with pytest.raises(SystemExit, match=r"(?s)failed \(3\).*reason"):
        run([sys.executable, "-c", "print('reason'); raise SystemExit(3)"])


def test_best_is_the_least_of_several() -> None:
    calls: list[int] = []
    assert best(lambda: calls.append(1), times=3) >= 0
    assert len(calls) == 3


def test_result_says_what_it_was_taken_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(harness.os, "getloadavg", lambda: (1.5, 0.0, 0.0))
    result = Result("small")
    result.add("thing", Usage(2.0, 3.0, 10), 50_000_000, kept=4)
    saved = json.loads(result.save().read_text())
    assert saved["under_load"] is True
    assert saved["rows"] == [
        {
            "what": "thing",
            "cpu_seconds": 2.0,
            "wall_seconds": 3.0,
            "peak_bytes": 10,
            "bytes": 50_000_000,
            "mb_per_cpu_second": 25.0,
            "kept": 4,
        }
    ]
    assert saved["machine"]["cores"] >= 1
    assert saved["machine"]["packages"]["numpy"]
