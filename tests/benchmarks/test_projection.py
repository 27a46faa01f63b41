"""The projection is the line through the two largest sizes, times the share of the text that a stage reads."""

from __future__ import annotations

from typing import Any

from benchmarks.corpus.projection import project


def row(what: str, asked: int, cpu: float, size: int) -> dict[str, Any]:
    return {"what": what, "asked_megabytes": asked, "cpu_seconds": cpu, "bytes": size, "documents": 1, "peak_bytes": 7}


def test_slope_of_the_two_largest_sizes() -> None:
    rows = [
        row("collect", 10, 99.0, 10_000_000),  # not the line's
        row("collect", 100, 3.0, 100_000_000), row("filter", 100, 2.0, 50_000_000),
        row("collect", 200, 5.0, 200_000_000), row("filter", 200, 3.0, 100_000_000),
    ]  # fmt: skip
    collect, filtering, everything = project(rows, 3.6)
    assert collect["core_hours"] == 20  # 2 s per 100 MB: 50 MB/s; 3.6e12 / 50e6 / 3600
    assert collect["mb_per_cpu_second"] == 50.0
    assert filtering["core_hours"] == 10  # 50 MB/s too, but half of the text
    assert everything["core_hours"] == 30


def test_one_size_is_no_line() -> None:
    assert project([row("collect", 10, 1.0, 10)]) == []
