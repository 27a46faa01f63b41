"""What stands next to a file in training samples: the test of the paper's finding (2.1, Table 3) on the very samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from megatron_snow.datasets.lineage import Lineage
from megatron_snow.datasets.phase_data import PhaseData

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Neighbours:
    """Pairs of files that follow each other within a sample, and the shares of them that are alike."""

    samples: int
    pairs: int
    language: float  # of the same language
    repository: float
    both: float

    def as_dict(self) -> dict[str, Any]:
        """For a report."""
        return asdict(self)


def count_neighbours(data: PhaseData, samples: Iterable[int]) -> Neighbours:
    """Count them in these samples of a phase, all of whose datasets have a lineage. Memory: 24 bytes a file."""
    files = _Files()
    pairs = [files.pairs(data, i) for i in samples]
    languages, repositories = np.concatenate([np.zeros((2, 0), bool), *pairs], axis=1)
    count = languages.size
    shares = [float(alike.mean()) if count else 0.0 for alike in (languages, repositories, languages & repositories)]
    return Neighbours(len(pairs), count, *shares)


class _Files:
    """The files of datasets, each with its language and repository as numbers."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Numbers, Numbers, Numbers]] = {}

    def pairs(self, data: PhaseData, i: int) -> NDArray[np.bool_]:
        """Whether the files of each pair in sample i are alike in language and in repository: bool[2, pairs]."""
        starts, languages, repositories = self._of(data.locate(i)[0].path)
        rows = [self._rows(starts, span.first_token, span.count) for span in data.spans(i)]
        files = np.concatenate(rows)
        return np.stack([codes[files[1:]] == codes[files[:-1]] for codes in (languages, repositories)])

    def _rows(self, starts: Numbers, first_token: int, count: int) -> Numbers:
        first, last = np.searchsorted(starts, (first_token, first_token + count - 1), side="right") - 1
        return np.arange(first, last + 1)

    def _of(self, prefix: Path) -> tuple[Numbers, Numbers, Numbers]:
        if prefix not in self._known:
            lineage = Lineage(prefix)
            table = pa.concat_tables([rows for _, rows in lineage.tables(["language", "repository"])])
            self._known[prefix] = lineage.starts(0, len(lineage)), _codes(table["language"]), _codes(table["repository"])
        return self._known[prefix]


def _codes(column: pa.ChunkedArray) -> Numbers:
    return np.asarray(column.combine_chunks().dictionary_encode().indices, np.int64)
