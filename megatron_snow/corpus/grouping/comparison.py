"""What each grouping puts into a training sequence, as a token of the corpus sees it.

A sequence is cut as training cuts it: the groups of a dataset in a random order, end to end, a separator after each file,
windows of `seq_length` tokens, a last short one dropped (datasets/order.py; the test holds the two together). For each token

    programming    share of its sequence's tokens in files of linguist's type "programming", against markup and data
    language       share that is of the token's own language
    repository     share that is of its repository
    both           share that is of its language and its repository
    files          files of which the sequence has a part

and the mean of these over tokens: over all (groupings at equal tokens), over programming tokens alone (at equal programming
tokens), and by the size of a repository in sequences and its number of languages. Memory: 300 bytes a document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import enry
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from megatron_snow.corpus.grouping.ordering import Arrangement, with_imports
from megatron_snow.corpus.grouping.placement import FACTS, Placer, facts_of
from megatron_snow.corpus.grouping.plan import HELD_OUT
from megatron_snow.pipeline import DOCUMENT, batches_of

GROUPINGS = ("file", "repo", "language-repo", "repo-language")
STATISTICS = ("programming", "language", "repository", "both", "files")
_SIZES = (0.25, 1, 8, 64)  # of a repository, in sequences
_DIVERSITIES = (1, 3, 7)  # most languages of a repository in each class but the last

Numbers = NDArray[np.int64]


class Pieces(NamedTuple):
    """Parts of documents in sequences: row of the document, number of the sequence, tokens."""

    rows: Numbers
    sequences: Numbers
    tokens: Numbers


def cut_into_sequences(tokens: Numbers, seq_length: int) -> Pieces:
    """Documents of these tokens, end to end, in windows of `seq_length`; the last token of all is a target alone, as in training."""
    ends = np.cumsum(tokens)
    starts = ends - tokens
    count = max(0, (int(ends[-1]) - 1) // seq_length) if len(ends) else 0
    first, last = starts // seq_length, (ends - 1) // seq_length
    parts = np.where(tokens > 0, last - first + 1, 0)
    rows = np.repeat(np.arange(len(tokens)), parts)
    sequences = first[rows] + np.arange(len(rows)) - np.repeat(np.cumsum(parts) - parts, parts)
    inside = np.minimum(ends[rows], (sequences + 1) * seq_length) - np.maximum(starts[rows], sequences * seq_length)
    whole = sequences < count
    return Pieces(rows[whole], sequences[whole], inside[whole])


def read_facts(inputs: Sequence[Path], count: Callable[[pa.Table], Numbers], *, texts: bool, file_order: str) -> pa.Table:
    """FACTS, tokens with their separator, and imports where the order needs them, of all documents; `count` takes a batch."""
    columns = (*FACTS, "content") if texts or file_order == "imports" else FACTS
    tables = []
    for path in inputs:
        for batch in batches_of(path, columns):
            facts = facts_of(batch, columns)
            tables.append(with_imports(facts.append_column("tokens", pa.array(count(facts) + 1)), file_order))
    if not tables:
        schema = pa.schema([*(DOCUMENT.field(name) for name in FACTS), ("tokens", pa.int64()), ("imports", pa.list_(pa.string()))])
        return schema.empty_table()
    return pa.concat_tables(tables).combine_chunks()


def compare(
    facts: pa.Table, seq_length: int, seed: int, file_order: str, permute: Callable[[int], Numbers], groupings: Sequence[str] = GROUPINGS
) -> dict[str, Any]:
    """The report: by grouping what is in its sequences; `permute(n)` is training's order of n groups."""
    corpus = _Corpus(facts, seq_length)
    return {grouping: corpus.report(Arrangement(seed, grouping, file_order), permute) for grouping in groupings}


class _Corpus:
    def __init__(self, facts: pa.Table, seq_length: int) -> None:
        self._facts, self._seq_length = facts, seq_length
        self._tokens = facts["tokens"].to_numpy()
        self._languages, names = _codes(facts["language"])
        self._repositories, repositories = _codes(facts["repository"])
        types = np.array([enry.get_language_type(name) == "programming" for name in names], bool)
        self._programming = types[self._languages] if len(names) else np.zeros(0, bool)
        sizes = np.bincount(self._repositories, self._tokens, len(repositories)) / seq_length
        pairs = np.unique(np.stack([self._repositories, self._languages]), axis=1)[0]
        diversities = np.bincount(pairs, minlength=len(repositories))
        self._classes: Mapping[str, tuple[list[str], Numbers]] = {
            "by_repository_sequences": (_class_names(_SIZES), np.searchsorted(_SIZES, sizes)[self._repositories]),
            "by_repository_languages": (_class_names(_DIVERSITIES), np.searchsorted(_DIVERSITIES, diversities)[self._repositories]),
        }

    def report(self, arrangement: Arrangement, permute: Callable[[int], Numbers]) -> dict[str, Any]:
        means = {name: _Means(len(names)) for name, (names, _) in self._classes.items()} | {
            "all": _Means(1),
            "programming_tokens": _Means(1),
        }
        sequences = useful = 0
        for rows in self._streams(arrangement, permute):
            pieces = cut_into_sequences(self._tokens[rows], self._seq_length)
            count = int(pieces.sequences[-1]) + 1 if len(pieces.rows) else 0
            rows, tokens = rows[pieces.rows], pieces.tokens
            seen = self._statistics(rows, pieces, count)
            sequences += count
            useful += count if self._programming[rows].any() else 0
            means["all"].add(np.zeros(len(rows), np.int64), tokens, seen)
            means["programming_tokens"].add(np.zeros(len(rows), np.int64), tokens * self._programming[rows], seen)
            for name, (_, classes) in self._classes.items():
                means[name].add(classes[rows], tokens, seen)
        return self._summary(sequences, useful, means)

    def _summary(self, sequences: int, useful: int, means: Mapping[str, _Means]) -> dict[str, Any]:
        programming = int(means["programming_tokens"].weights[0])
        return {
            "sequences": sequences,
            "tokens": sequences * self._seq_length,
            # Datasets without a programming language can be left out; in a mixed one everything has to be read.
            "tokens_a_programming_token": round(useful * self._seq_length / programming, 4) if programming else None,
            **{name: means[name].row(0) for name in ("all", "programming_tokens")},
            **{name: {label: means[name].row(n) for n, label in enumerate(names)} for name, (names, _) in self._classes.items()},
        }

    def _streams(self, arrangement: Arrangement, permute: Callable[[int], Numbers]) -> Iterator[Numbers]:
        """Rows of each dataset in the order in which training reads them."""
        places, numbers = Placer(arrangement.grouping, HELD_OUT.empty_table()).place(self._facts)
        groups = pa.array([place.group for place in places], pa.string()).take(pa.array(numbers))
        datasets, names = _codes(pa.chunked_array([pa.array([place.dataset for place in places], pa.string()).take(pa.array(numbers))]))
        table = self._facts.append_column("group", groups)
        for dataset, name in enumerate(names):
            rows = np.flatnonzero(datasets == dataset)
            stored = rows[arrangement.order(table.take(pa.array(rows)), name)]
            borders = np.flatnonzero(np.diff(numbers[stored])) + 1
            parts = np.split(stored, borders)
            yield np.concatenate([parts[number] for number in permute(len(parts))])

    def _statistics(self, rows: Numbers, pieces: Pieces, count: int) -> Mapping[str, NDArray[np.float64]]:
        """Each of STATISTICS of the sequence of each piece, as a token of the piece sees it."""
        languages, repositories = self._languages[rows], self._repositories[rows]
        both = repositories * (int(languages.max(initial=0)) + 1) + languages
        programming = np.bincount(pieces.sequences, pieces.tokens * self._programming[rows], count)
        return {
            "programming": programming[pieces.sequences] / self._seq_length,
            "language": _same(languages, pieces) / self._seq_length,
            "repository": _same(repositories, pieces) / self._seq_length,
            "both": _same(both, pieces) / self._seq_length,
            "files": np.bincount(pieces.sequences, minlength=count)[pieces.sequences].astype(np.float64),
        }


def _same(codes: Numbers, pieces: Pieces) -> NDArray[np.float64]:
    """Tokens of each piece's sequence that have the piece's code."""
    _, keys = np.unique(pieces.sequences * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)
    return np.bincount(keys, pieces.tokens)[keys].astype(np.float64)


def _codes(column: pa.ChunkedArray) -> tuple[Numbers, list[str]]:
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()


def _class_names(limits: Sequence[float]) -> list[str]:
    return [f"up to {limit:g}" for limit in limits] + [f"over {limits[-1]:g}"]


class _Means:
    """Sums of the statistics, weighted by tokens, in some classes."""

    def __init__(self, classes: int) -> None:
        self.weights = np.zeros(classes)
        self._sums = {name: np.zeros(classes) for name in STATISTICS}

    def add(self, classes: Numbers, weights: Numbers, statistics: Mapping[str, NDArray[np.float64]]) -> None:
        self.weights += np.bincount(classes, weights, len(self.weights))
        for name, values in statistics.items():
            self._sums[name] += np.bincount(classes, weights * values, len(self.weights))

    def row(self, number: int) -> dict[str, float]:
        weight = self.weights[number]
        return {"tokens": int(weight)} | {
            name: round(float(sums[number] / weight), 4) if weight else 0.0 for name, sums in self._sums.items()
        }
