"""Where a document belongs: the dataset, the group and the place of the group, by language and repository.

| grouping | dataset | group | order in a group |
|---|---|---|---|
| file | the language | the file | |
| repo | all | the repository | corpus.file_order |
| language-repo (the paper) | the language | its files in a repository | corpus.file_order |
| repo-language (the authors' untested hybrid) | all | the repository | by language, then corpus.file_order |

What is held out, for the loss while training and for a test, is grouped by language and repository, in random order, whatever
the grouping: held-out losses of different groupings are of the same sequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from megatron_snow.common.checksums import text_digest
from megatron_snow.config import file_name_of
from megatron_snow.corpus.grouping.held_out import unit_of

TRAINING, HELD_OUT, TEST = "training", "held_out", "test"
SPLITS = (HELD_OUT, TEST)  # that nothing is trained on
MIXED = "all"  # the dataset of a grouping that mixes languages
FACTS = ("language", "repository", "path", "id", "size")  # what places a document


class Place(NamedTuple):
    """A dataset with its part of the corpus ("training/Python") and a group in it ("Python/python:numpy")."""

    dataset: str
    group: str


def order_of(seed: int, name: str) -> int:
    """The seeded place of a group or file among its like, 64 bits."""
    return int(text_digest(f"{seed}:{name}")[:16], 16)


def dataset_of(grouping: str, language: str) -> str:
    """The training dataset in which a language's documents go."""
    mixed = grouping in ("repo", "repo-language")
    return f"{TRAINING}/{MIXED if mixed else file_name_of(language) or 'unknown'}"


def training_place(grouping: str, language: str, repository: str, path: str = "") -> Place:
    """Dataset and group of a document that is not held out; the path matters to "file" alone."""
    dataset = dataset_of(grouping, language)
    if grouping in ("repo", "repo-language"):
        return Place(dataset, repository)
    group = f"{language}/{repository}"
    return Place(dataset, f"{group}/{path}" if grouping == "file" else group)


def held_out_place(split: str, language: str, repository: str) -> Place:
    """Dataset and group of a document of one of SPLITS."""
    return Place(f"{split}/{file_name_of(language) or 'unknown'}", f"{language}/{repository}")


def is_held_out(dataset: str) -> bool:
    """Whether a dataset is of one of SPLITS."""
    return dataset.partition("/")[0] in SPLITS


def facts_of(table: pa.Table, columns: Sequence[str] = FACTS) -> pa.Table:
    """Some columns in which a missing text is ""."""
    arrays = [pc.fill_null(table[name], "") if pa.types.is_string(table[name].type) else table[name] for name in columns]
    return pa.table(arrays, names=list(columns))


class Placer:
    """Places documents of batches: each (language, repository) once, single documents only where the path decides."""

    def __init__(self, grouping: str, held_out: pa.Table) -> None:
        """`held_out`: rows of (split, language, level, unit), as the plan writes them."""
        self._grouping = grouping
        self._held: dict[str, dict[tuple[str, str], set[str]]] = {}  # language -> (split, level) -> units
        for row in held_out.to_pylist():
            self._held.setdefault(row["language"], {}).setdefault((row["split"], row["level"]), set()).add(row["unit"])

    def place(self, facts: pa.Table) -> tuple[list[Place], NDArray[np.int64]]:
        """(distinct places, the number of each document's place among them) of a batch."""
        pairs = pc.binary_join_element_wise(facts["language"], facts["repository"], "\x00").combine_chunks()
        encoded = (pa.concat_arrays(pairs.chunks) if isinstance(pairs, pa.ChunkedArray) else pairs).dictionary_encode()
        units = encoded.indices.to_numpy(zero_copy_only=False)
        known: dict[Place, int] = {}
        numbers = np.empty(len(units), np.int64)
        by_unit = [self._place_of_unit(*pair.split("\x00", 1)) for pair in encoded.dictionary.to_pylist()]
        of_unit = np.array([-1 if place is None else known.setdefault(place, len(known)) for place in by_unit], np.int64)
        numbers[:] = of_unit[units] if len(units) else 0
        single = np.flatnonzero(numbers < 0)
        rows = facts.take(pa.array(single)).select(("language", "repository", "path", "id")) if len(single) else facts.slice(0, 0)
        for number, row in zip(single, rows.to_pylist()):
            numbers[number] = known.setdefault(self._place_of_document(row), len(known))
        return list(known), numbers

    def _place_of_unit(self, language: str, repository: str) -> Place | None:
        """The place of all documents of a language in a repository; None where their paths decide."""
        held = self._held.get(language, {})
        for (split, level), units in held.items():
            if level == "repository" and repository in units:
                return held_out_place(split, language, repository)
        if self._grouping == "file" or any(level != "repository" for _, level in held):
            return None
        return training_place(self._grouping, language, repository)

    def _place_of_document(self, row: Mapping[str, Any]) -> Place:
        language, repository, path = row["language"], row["repository"], row["path"]
        for (split, level), units in self._held.get(language, {}).items():
            if unit_of(level, repository, path, row["id"]) in units:
                return held_out_place(split, language, repository)
        return training_place(self._grouping, language, repository, path)
