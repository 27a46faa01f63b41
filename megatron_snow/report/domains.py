"""Phases x domains: what each phase taught and what it cost, by language, source, role, text and benchmark (docs/domains.md).

Made of lines of held_out.jsonl; a difference is that to the first line, the phase from which the others go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FIGURES: Mapping[str, str] = {"bits_per_byte": "bits per byte", "loss": "nats a token"}


@dataclass(frozen=True)
class DomainRow:
    """A row of the table: None where a phase has no figure."""

    group: str  # language, source, role, text or solutions
    name: str
    tokens: int  # that were evaluated, in the last phase that has them
    values: tuple[float | None, ...]  # a phase
    differences: tuple[float | None, ...]  # to the first phase

    def cells(self) -> list[str]:
        """Values with their differences: "1.234 (-0.012)"."""
        return [_cell(value, change) for value, change in zip(self.values, self.differences)]


def domain_rows(records: Sequence[Mapping[str, Any]], figure: str = "bits_per_byte") -> list[DomainRow]:
    """The rows of a figure, in the order of the records' groups; lines of runs before there were domains have none."""
    places = dict.fromkeys((group, name) for record in records for group, found in record.get("domains", {}).items() for name in found)
    groups = list(dict.fromkeys(group for group, _ in places))
    return [_row(records, *place, figure) for place in sorted(places, key=lambda place: (groups.index(place[0]), place[1]))]


def _row(records: Sequence[Mapping[str, Any]], group: str, name: str, figure: str) -> DomainRow:
    found = [record.get("domains", {}).get(group, {}).get(name) or {} for record in records]
    values = tuple(one.get(figure) for one in found)
    first = values[0]
    changes = [None if value is None or first is None else value - first for value in values[1:]]
    return DomainRow(group, name, max((one.get("tokens", 0) for one in found), default=0), values, (None, *changes))


def _cell(value: float | None, change: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if change is None else f"{value:.3f} ({change:+.3f})"


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """Both figures as tables, and a line where there is no documentation."""
    return "\n\n".join(["\n".join(_table(records, figure)) for figure in FIGURES] + notes(records))


def _table(records: Sequence[Mapping[str, Any]], figure: str) -> Iterator[str]:
    yield f"| {FIGURES[figure]} | | tokens | " + " | ".join(f"{record['phase']} (step {record['step']})" for record in records) + " |"
    yield "|---|---|--:|" + "--:|" * len(records)
    for row in domain_rows(records, figure):
        yield f"| {row.group} | {row.name} | {row.tokens:,} | " + " | ".join(row.cells()) + " |"


def notes(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader would miss in the table."""
    text = [record.get("domains", {}).get("text", {}) for record in records]
    if any(found.get("documentation", ()) is None for found in text):
        return ["documentation: the corpus has none held out (corpus.languages: prose is collected only where it is named)"]
    return []
