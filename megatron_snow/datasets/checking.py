"""All that is wrong with a dataset at once: its files against their seal, its .idx, its lineage, its ids against a vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.datasets.indexed import IndexedDataset
from megatron_snow.datasets.lineage import SUFFIX as LINEAGE
from megatron_snow.datasets.lineage import Lineage
from megatron_snow.datasets.lineage_checks import check_lineage
from megatron_snow.datasets.seals import BLOCK, Checksums, Seal, check_sizes, digest_of_block, read_seal, scan_blocks, seal
from megatron_snow.datasets.vocabulary import first_outside

_CHUNK = 1 << 20  # document marks looked at a time


@dataclass
class Damage:
    """A block that is not what was sealed, or the first token of one that is outside the vocabulary; the documents that lie there."""

    file: str
    what: str
    first_byte: int
    last_byte: int  # exclusive
    documents: list[str] = field(default_factory=list)  # "REPOSITORY PATH" by the lineage, else "document NUMBER"


@dataclass
class DatasetReport:
    """What a dataset is, and what is wrong with it. Counts are None where its .idx is refused."""

    prefix: str
    dtype: str | None = None
    documents: int | None = None
    empty_documents: int | None = None
    sequences: int | None = None
    tokens: int | None = None
    files: int | None = None  # of the lineage; None: it has none
    seal: str = "none"  # | whole | broken
    problems: list[str] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Nothing is wrong."""
        return not self.problems and not self.damage


def prefixes_of(path: Path) -> list[Path]:
    """The datasets that a path names: a folder's, or the one of a prefix, a .bin or an .idx; UserError where there is none."""
    if path.is_dir() and not beside(path, ".idx").is_file():
        files = [file for ending in (".idx", ".bin") for file in path.glob(f"*{ending}") if not file.name.startswith(".")]
        found = sorted({file.with_suffix("") for file in files})
        if not found:
            raise UserError(f"{path}: no .idx and no .bin in this folder")
        return found
    return [path.with_suffix("") if path.suffix in (".idx", ".bin") and path.is_file() else path]


def check_dataset(
    prefix: Path,
    vocab_size: int | None = None,
    workers: int = 1,
    *,
    add_seal: bool = False,
    advance: Callable[[int], object] = lambda size: None,
) -> DatasetReport:
    """Read all of PREFIX.bin and its companions on `workers` threads; `advance` is told of the bytes as they are read.

    `add_seal` seals a whole dataset that has no seal. FileNotFoundError never: what is missing is a problem of the report.
    """
    report = DatasetReport(str(prefix))
    data, known = _open(prefix, report), _seal_of(prefix, report)
    if data is not None:
        _describe(data, report)
    _check_files(prefix, known or {}, data, vocab_size, workers, report, advance)
    if add_seal and known is None and report.whole:
        seal(prefix, workers)
        report.seal = "whole"
    return report


def _open(prefix: Path, report: DatasetReport) -> IndexedDataset | None:
    try:
        return IndexedDataset(prefix)
    except UserError as error:
        report.problems.append(str(error))
        return None


def _seal_of(prefix: Path, report: DatasetReport) -> Seal | None:
    try:
        found = read_seal(prefix)
        if found is None:
            return None
        report.seal = "whole"
        check_sizes(prefix, found)
    except UserError as error:
        report.seal = "broken"
        if str(error) not in report.problems:
            report.problems.append(str(error))
        return None
    return found


def _describe(data: IndexedDataset, report: DatasetReport) -> None:
    report.dtype, report.sequences, report.tokens = data.dtype.name, len(data), data.num_tokens
    marks = data.document_indices
    report.documents = len(marks) - 1
    report.empty_documents = sum(
        int(np.count_nonzero(np.diff(marks[first : first + _CHUNK + 1]) == 0)) for first in range(0, len(marks) - 1, _CHUNK)
    )
    if beside(data.prefix, LINEAGE).is_file():
        try:
            report.files = check_lineage(data)
        except UserError as error:
            report.problems.append(str(error))


def _check_files(
    prefix: Path,
    known: Seal,
    data: IndexedDataset | None,
    vocab_size: int | None,
    workers: int,
    report: DatasetReport,
    advance: Callable[[int], object],
) -> None:
    names = _Documents(data)
    for suffix in [".bin", *(suffix for suffix in known if suffix != ".bin")]:
        path = beside(prefix, suffix)
        tokens = data.dtype if data is not None and suffix == ".bin" and vocab_size is not None else None
        if (suffix not in known and tokens is None) or not path.is_file():
            continue
        look = _Look(known.get(suffix), tokens, vocab_size or 0)
        for number, findings in enumerate(scan_blocks(path, look, workers)):
            first, last = number * BLOCK, min((number + 1) * BLOCK, path.stat().st_size)
            for what, start, end in findings:
                lies = names.between(first + start, first + end) if suffix == ".bin" else []
                report.damage.append(Damage(str(path), what, first + start, first + end, lies))
            advance(last - first)
    if any(damage.what == _NOT_SEALED for damage in report.damage):
        report.seal = "broken"


_NOT_SEALED = "not what was sealed"


class _Look:
    """What is wrong with a block: (what, first byte within it, last + 1)."""

    def __init__(self, known: Checksums | None, dtype: np.dtype[np.integer] | None, vocab_size: int) -> None:
        self._known, self._dtype, self._vocab_size = known, dtype, vocab_size

    def __call__(self, number: int, block: np.ndarray) -> list[tuple[str, int, int]]:
        found = []
        if self._known is not None and self._known.blocks[number : number + 1] != (digest_of_block(block),):
            found.append((_NOT_SEALED, 0, len(block)))
        if self._dtype is not None:
            size = self._dtype.itemsize
            tokens = block[: len(block) // size * size].view(self._dtype)
            if (place := first_outside(tokens, self._vocab_size)) is not None:
                what = f"token {tokens[place]} is not one of 0 to {self._vocab_size - 1}"
                found.append((what, place * size, place * size + size))
        return found


class _Documents:
    """Names what lies between two bytes of a .bin."""

    def __init__(self, data: IndexedDataset | None) -> None:
        self._data = data

    def between(self, first_byte: int, last_byte: int) -> list[str]:
        """Files by the lineage, where that is whole; else numbers of documents; none where the .idx is refused."""
        if self._data is None:
            return []
        size = self._data.dtype.itemsize
        first, last = first_byte // size, -(-last_byte // size)
        try:
            return [f"{origin.repository} {origin.path}" for origin in Lineage(self._data.prefix).between(first, last - first)]
        except UserError:  # the lineage may be what is damaged
            return [f"document {number}" for number in self._numbers(first_byte, last_byte)]

    def _numbers(self, first_byte: int, last_byte: int) -> range:
        assert self._data is not None
        pointers, marks = self._data.sequence_pointers, self._data.document_indices
        sequences = [int(np.searchsorted(pointers, byte, side="right")) - 1 for byte in (first_byte, last_byte - 1)]
        first, last = (int(np.searchsorted(marks, sequence, side="right")) - 1 for sequence in sequences)
        return range(first, last + 1)


def problems_of(report: DatasetReport, blocks: int = 10, documents: int = 3) -> Iterator[str]:
    """A line for each thing that is wrong, up to so many blocks and documents, and how many there are."""
    yield from report.problems
    for damage in report.damage[:blocks]:
        names = ", ".join(damage.documents[:documents])
        names += f" ... {damage.documents[-1]} ({len(damage.documents):,} in all)" if len(damage.documents) > documents else ""
        yield f"{damage.file}: bytes {damage.first_byte} to {damage.last_byte}: {damage.what}{f'; of {names}' if names else ''}"
    if len(report.damage) > blocks:
        yield f"and {len(report.damage) - blocks:,} blocks more (--json lists all)"
