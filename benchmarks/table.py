"""Put the newest results that were taken on an idle machine into benchmarks/README.md, between its two markers.

.venv/bin/python -m benchmarks.table
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS
from megatron_snow.common.files import atomic_file
from megatron_snow.common.records import read_json

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- figures: made by benchmarks/table.py -->\n", "<!-- end of figures -->\n"
_ORDER = (
    "near_duplicates",
    "filters",
    "decontamination",
    "languages",
    "redaction",
    "stages",
    "tokenize",
    "order",
    "reading",
    "step",
    "loop",
    "gpu",
)
_UNSHOWN = ("what", "cpu_seconds", "wall_seconds", "bytes", "mb_per_cpu_second", "peak_bytes")


def newest(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """The last result of each benchmark that was not taken under load."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        result = read_json(path)
        if not result["under_load"] and result["date"] >= found.get(result["benchmark"], result)["date"]:
            found[result["benchmark"]] = result
    return [found[name] for name in _ORDER if name in found]


def section(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: for each benchmark its command, date and machine, and a row a measurement."""
    return "\n".join(line for result in results for line in _lines(result)) + "\n"


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    machine = result["machine"]
    yield f"\n### {result['benchmark'].replace('_', ' ').capitalize()}\n"
    where = f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}"
    yield f"`{result['command']}`, {result['date']}, commit {result['commit']}: {where}\n"
    yield "| | MB/s a core | CPU s | MB read | peak MB | |"
    yield "|---|---|---|---|---|---|"
    for row in result["rows"]:
        facts = ", ".join(f"{key.replace('_', ' ')} {_shown(value)}" for key, value in row.items() if key not in _UNSHOWN)
        cells = (
            _shown(row.get("mb_per_cpu_second")),
            _shown(row.get("cpu_seconds")),
            _mega(row.get("bytes")),
            _mega(row.get("peak_bytes")),
        )
        yield f"| {row['what']} | {' | '.join(cells)} | {facts} |"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key} {_shown(number)}" for key, number in value.items())
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _mega(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.0f}"


def main() -> None:
    results = newest()
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    with atomic_file(README) as file:
        file.write(before + BEGIN + section(results) + END + rest.partition(END)[2])
    print(f"{README}: {len(results)} of {len(_ORDER)} benchmarks have figures from an idle machine")


if __name__ == "__main__":
    main()
