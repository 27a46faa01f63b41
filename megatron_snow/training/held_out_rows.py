"""Sequences that are evaluated: which targets count, of what kind each is, how many bytes of text they spell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.files import beside
from megatron_snow.common.roles import role_of
from megatron_snow.datasets import IndexedDataset, Lineage
from megatron_snow.datasets.lineage import SUFFIX
from megatron_snow.datasets.sources import file_starts
from megatron_snow.tasks import Problem
from megatron_snow.tokenizers import Tokenizer

# Where figures stand in the table of domains: ("language", "Python"), ("source", "debian"), ("text", "prose").
Place = tuple[str, str]
DOCUMENTATION: Place = ("text", "documentation")
_FOLDER = "repository"  # the source of a repository whose name has no "python:", "debian:" or the like before it


@dataclass(frozen=True)
class Kind:
    """Targets whose loss is summed apart, and the places to which it counts."""

    places: tuple[Place, ...]
    num_bytes: int  # of text that they spell


@dataclass(frozen=True)
class Rows:
    """Sequences to evaluate: tokens int64[n, seq + 1], mask bool[n, seq] of the targets that count.

    numbers int16[n, seq]: the kind of each target, in `kinds`; None: all are of the first.
    documents int32[n, seq]: numbers of the inputs' documents; None: each row is one.
    """

    tokens: np.ndarray
    mask: np.ndarray
    kinds: tuple[Kind, ...]
    numbers: np.ndarray | None = None
    documents: np.ndarray | None = None


def held_out_rows(data: IndexedDataset, count: int, seq_length: int, tokenizer: Tokenizer) -> Rows:
    """Up to `count` sequences, evenly spaced over the dataset so that many repositories are met; a short dataset gives one, padded.

    A dataset with a lineage has kinds by source and role, beside its language, which is the file's name.
    """
    count = max(1, min(count, (data.num_tokens - 1) // seq_length))
    tokens = np.zeros((count, seq_length + 1), np.int64)
    mask = np.zeros((count, seq_length), bool)
    firsts = np.linspace(0, max(0, data.num_tokens - seq_length - 1), count, dtype=np.int64)
    for row, first in enumerate(firsts):
        piece = data.read(int(first), min(seq_length + 1, data.num_tokens))
        tokens[row, : len(piece)] = piece
        mask[row, : max(0, len(piece) - 1)] = True
    inputs = firsts[:, None] + np.arange(seq_length)
    borders = np.union1d(data.document_ends, file_starts(data))
    documents = np.searchsorted(borders, inputs, side="right").astype(np.int32)
    language, numbers = ("language", data.prefix.name), None
    places: list[tuple[Place, ...]] = [()]
    if beside(data.prefix, SUFFIX).is_file() and mask.any():
        numbers, places = _by_file(Lineage(data.prefix), np.minimum(inputs + 1, data.num_tokens - 1))
    sizes = _sizes(tokens[:, 1:], mask, numbers, len(places), tokenizer)
    kinds = tuple(Kind((language, *more), size) for more, size in zip(places, sizes))
    return Rows(tokens, mask, kinds, numbers, documents)


def _by_file(lineage: Lineage, targets: NDArray[np.int64]) -> tuple[NDArray[np.int16], list[tuple[Place, ...]]]:
    """The kind of each of these tokens int16[n, seq], and the places of each kind, by the files that they are of."""
    starts = lineage.starts(0, len(lineage))
    files, owner = np.unique(np.searchsorted(starts, targets, side="right") - 1, return_inverse=True)
    known: dict[tuple[Place, ...], int] = {}
    of_file = [
        known.setdefault((("source", source_of(row["repository"])), ("role", role_of(row["path"], row["language"]))), len(known))
        for row in lineage.rows(files).select(["repository", "path", "language"]).to_pylist()
    ]
    return np.array(of_file, np.int16)[owner.reshape(targets.shape)], list(known)


def source_of(repository: str) -> str:
    """Where a repository is from, by its name: "python" of "python:numpy"; those of folders and tables have no such word."""
    kind, colon, _ = repository.partition(":")
    return kind if colon else _FOLDER


def _sizes(targets: np.ndarray, mask: np.ndarray, numbers: np.ndarray | None, kinds: int, tokenizer: Tokenizer) -> list[int]:
    """Bytes of text that the targets of each kind spell."""
    lengths = tokenizer.byte_lengths[targets[mask]]
    of = np.zeros(len(lengths), np.int64) if numbers is None else numbers[mask]
    return np.bincount(of, lengths, kinds).astype(np.int64).tolist()


def documentation_rows(prefixes: Sequence[Path], count: int, seq_length: int, tokenizer: Tokenizer) -> Rows | None:
    """Up to `count` sequences of the files of datasets whose role is documentation, one after the other; None: there is none."""
    extents = [extent for prefix in prefixes for extent in _documentation(prefix)]
    ends = np.cumsum([tokens for _, _, tokens in extents], dtype=np.int64)
    total = int(ends[-1]) if extents else 0
    if total < 2:
        return None
    opened = {prefix: IndexedDataset(prefix) for prefix in dict.fromkeys(prefix for prefix, _, _ in extents)}
    count = max(1, min(count, (total - 1) // seq_length))
    tokens = np.zeros((count, seq_length + 1), np.int64)
    firsts = np.linspace(0, max(0, total - seq_length - 1), count, dtype=np.int64)
    for row, first in enumerate(firsts.tolist()):
        place, last = first, min(total, first + seq_length + 1)
        while place < last:
            number = int(np.searchsorted(ends, place, side="right"))
            prefix, start, length = extents[number]
            here = min(last, int(ends[number])) - place
            offset = start + length - (int(ends[number]) - place)
            tokens[row, place - first : place - first + here] = opened[prefix].read(offset, here)
            place += here
    inputs = firsts[:, None] + np.arange(seq_length)
    mask = inputs + 1 < total
    sizes = _sizes(tokens[:, 1:], mask, None, 1, tokenizer)
    documents = np.searchsorted(ends, inputs, side="right").astype(np.int32)
    return Rows(tokens, mask, (Kind((DOCUMENTATION,), sizes[0]),), None, documents)


def _documentation(prefix: Path) -> Iterator[tuple[Path, int, int]]:
    """(prefix, first token, tokens) of each file of a dataset that is documentation, with what separates it from the next."""
    lineage = Lineage(prefix)
    for first, rows in lineage.tables(["path", "language"]):
        for number, row in enumerate(rows.to_pylist(), first):
            if role_of(row["path"], row["language"]) == "documentation":
                start, end = lineage.extent(number)
                yield prefix, start, end - start


def solution_rows(name: str, problems: Sequence[Problem], tokenizer: Tokenizer, seq_length: int) -> Rows:
    """A row a problem: end of document, prompt, canonical solution; only the solution's tokens count.

    What does not fit is cut: the prompt at its start, a solution longer than a sequence at its end.
    """
    tokens = np.full((len(problems), seq_length + 1), tokenizer.eod, np.int64)
    mask = np.zeros((len(problems), seq_length), bool)
    num_bytes = 0
    for row, problem in enumerate(problems):
        solution = tokenizer.encode(problem.canonical_solution)
        text = problem.canonical_solution if len(solution) <= seq_length else tokenizer.decode(solution[:seq_length])
        solution = solution[:seq_length]
        prompt = [tokenizer.eod, *tokenizer.encode(problem.prompt)][-(seq_length + 1 - len(solution)) :]
        tokens[row, : len(prompt) + len(solution)] = prompt + solution
        mask[row, len(prompt) - 1 : len(prompt) + len(solution) - 1] = True
        num_bytes += len(text.encode("utf-8"))
    return Rows(tokens, mask, (Kind((("solutions", name),), num_bytes),))
