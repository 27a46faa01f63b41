"""The table shows what was measured, and nothing that was measured under load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import table


def result(name: str, date: str, under_load: bool, **row: Any) -> dict[str, Any]:
    machine = {"cpu": "A CPU", "cores": 2, "python": "3.11.7"}
    return {
        "benchmark": name, "date": date, "under_load": under_load, "command": "python -m x", "commit": "abc", "machine": machine,
        "rows": [{"what": "ours", **row}],
    }  # fmt: skip


def test_newest_that_was_not_under_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = [
        result("languages", "2026-01-01", False, cpu_seconds=1.0),
        result("languages", "2026-01-02", False, cpu_seconds=2.0, bytes=5_000_000, mb_per_cpu_second=1234.5, documents=12_345),
        result("languages", "2026-01-03", True, cpu_seconds=3.0),
        result("filters", "2026-01-03", True, cpu_seconds=4.0),
    ]
    for number, each in enumerate(results):
        (tmp_path / f"{number}.json").write_text(json.dumps(each))
    found = table.newest(tmp_path)
    assert [(each["benchmark"], each["date"]) for each in found] == [("languages", "2026-01-02")]
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}old\n{table.END}after\n")
    monkeypatch.setattr(table, "README", readme)
    monkeypatch.setattr(table, "newest", lambda: found)
    table.main()
    table.main()
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{table.END}after\n")
    assert "old" not in text
    assert text.count("| ours | 1,234 | 2 | 5 |  | documents 12,345 |") == 1
