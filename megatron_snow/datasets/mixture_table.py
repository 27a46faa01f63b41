"""What a phase will read of each source, as text: printed before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from megatron_snow.datasets.mixture import MANY_EPOCHS
from megatron_snow.datasets.phase_data import PhaseData
from megatron_snow.datasets.sources import Source

_HEAD = ("source", "tokens there", "different", "tokens read", "share", "epochs")


def describe_mixture(data: PhaseData) -> str:
    """A row a source, one a language where targets are given, then what a person should know."""
    phase, length = data.phase, data.seq_length
    title = f"phase {phase.name}: {len(data):,} samples of {length:,} tokens = {len(data) * length:,} tokens"
    rows = [_HEAD, *(_row(source.name, [source], data) for source in data.sources)]
    if len(data.sources) > 1:
        rows.append(_row("together", data.sources, data))
    if phase.languages:
        rows += [_row(name, group, data) for name, group in _by_language(data.sources)]
    targets = [f"{language} {share:.1%}" for language, share in phase.languages.items()]
    notes = [f"targets: {', '.join(targets)}; the others keep their proportions"] if targets else []
    return "\n".join([f"{title}; repeat: {phase.repeat}, packing: {phase.packing}", *_aligned(rows), *notes, *data.notes, *_warnings(data)])


def _by_language(sources: Sequence[Source]) -> Iterable[tuple[str, list[Source]]]:
    for language in sorted({source.language for source in sources}):
        yield f"all {language}", [source for source in sources if source.language == language]


def _row(name: str, sources: Sequence[Source], data: PhaseData) -> tuple[str, ...]:
    there, different = (sum(getattr(source, key) for source in sources) for key in ("tokens", "different"))
    read = sum(source.samples for source in sources) * data.seq_length
    share, epochs = sum(source.share for source in sources), read / different
    return name, f"{there:,}", f"{different:,}", f"{read:,}", f"{share:.2%}", f"{epochs:.2f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


def _warnings(data: PhaseData) -> list[str]:
    return [
        f"warning: {source.name} is read {source.epochs:.1f} times; more than four passes teach little (Muennighoff 2023; paper, Table 6)"
        for source in data.sources
        if source.epochs > MANY_EPOCHS
    ]
