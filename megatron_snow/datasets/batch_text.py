"""A sample as text with the borders of its files: the first thing a person doubts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.files import beside
from megatron_snow.datasets.lineage import SUFFIX, Lineage
from megatron_snow.datasets.phase_data import PhaseData
from megatron_snow.datasets.tracing import text_of
from megatron_snow.tokenizers import Tokenizer


class BatchPrinter:
    """Text of a phase's samples. A piece of a dataset without a lineage (made by others) is shown without names."""

    def __init__(self, data: PhaseData, tokenizer: Tokenizer) -> None:
        self._data, self._tokenizer = data, tokenizer
        self._lineages: dict[Path, Lineage | None] = {}

    def text(self, i: int) -> str:
        """Sample i: a heading with source, epoch and position, then each file's part under its name."""
        source, of_round, position = self._data.locate(i)
        passes = self._data.passes_of(i)
        together = passes.together(of_round)
        name = f"epoch {of_round}" if together == 1 else f"{together} passes together"
        parts = [f"=== sample {i}: {source.name}, {name}, position {position} of {passes.size(of_round)}"]
        batch, offset = self._data.read([i]), 0
        files = [file for span in self._data.spans(i) for file in self._files(source.path, span.first_token, span.count)]
        for name, count in self._permuted(files, batch.segments[0]) if self._data.phase.fim.rate else files:
            parts += [f"«{name}, {count} tokens»", text_of(batch.tokens[0, offset : offset + count].tolist(), self._tokenizer)]
            offset += count
        return "\n".join(parts) + "\n"

    def _permuted(self, files: list[tuple[str, int]], segments: NDArray[np.int32]) -> list[tuple[str, int]]:
        """Names and lengths after fill in the middle, which lengthens files and cuts the last ones off, or mixes those of a group."""
        names, counts = [name for name, _ in files], np.bincount(segments[segments >= 0]).tolist()
        if self._data.phase.fim.unit == "file" and len(names) >= len(counts):
            return list(zip(names, counts))
        return [("; ".join(names), sum(counts))]

    def _files(self, prefix: Path, first_token: int, count: int) -> list[tuple[str, int]]:
        """(name, tokens) of the parts of files in a piece of a .bin."""
        lineage = self._lineage(prefix)
        if lineage is None:
            return [(f"{prefix.name}, tokens {first_token} to {first_token + count}", count)]
        origins = lineage.between(first_token, count)
        borders = [first_token, *(origin.token_start for origin in origins[1:]), first_token + count]
        return [
            (f"{origin.repository} {origin.path}" + (f" ({origin.licence})" if origin.licence else ""), end - start)
            for origin, start, end in zip(origins, borders, borders[1:])
        ]

    def _lineage(self, prefix: Path) -> Lineage | None:
        if prefix not in self._lineages:
            self._lineages[prefix] = Lineage(prefix) if beside(prefix, SUFFIX).is_file() else None
        return self._lineages[prefix]
