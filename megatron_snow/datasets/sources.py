"""The files of a phase's datasets, and the samples that one of them gives, pass after pass."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.common.records import MANIFEST
from megatron_snow.config import Blend, Phase, Workspace
from megatron_snow.datasets.indexed import IndexedDataset
from megatron_snow.datasets.lineage import STARTS
from megatron_snow.datasets.order import BLOCK, SequenceOrder, Subset, derive_key, samples_per_epoch, subset_of
from megatron_snow.datasets.sample_index import SampleIndex
from megatron_snow.datasets.seals import check_companion

# Passes that are shuffled together (`joint`) are rounded as Megatron does it: a last pass of which less is read is shuffled by itself.
_WHOLE_PASS = 0.8
_REMEDY = "make the dataset again with tools/preprocess_data.py"
_OFF = 0.01  # a budget's subset may be off by so much; where documents are so large that it is, the nearest of ...
_DRAWS = 64


@dataclass(frozen=True)
class Source:
    """What one .bin/.idx gives to a phase."""

    name: str  # dataset/LANGUAGE
    dataset: str
    language: str  # the file's name: "Python", "C++"
    path: Path  # prefix of the .bin and .idx
    tokens: int  # there are
    different: int  # of them that are read
    share: float  # of the phase's samples
    samples: int  # it gives in this phase, to within one
    samples_per_epoch: int

    @property
    def epochs(self) -> float:
        """Passes over what is read of it in this phase."""
        return self.samples / self.samples_per_epoch


def dataset_path(dataset: str, workspace: Workspace) -> Path:
    """The folder of a dataset (or the prefix of a single one): a name with a slash is a path."""
    return Path(dataset) if "/" in dataset else workspace.tokens(dataset)


def dataset_prefixes(path: Path) -> list[Path]:
    """The .bin/.idx pairs of a dataset, without their endings; none where it is empty or missing."""
    if beside(path, ".idx").is_file():
        return [path]
    return sorted(index.with_name(index.name.removesuffix(".idx")) for index in path.glob("*.idx") if not index.name.startswith("."))


def open_sources(phase: Phase, workspace: Workspace, least: int) -> tuple[list[tuple[Blend, IndexedDataset]], list[str]]:
    """The files of the phase's datasets that hold `least` tokens, one sample, and a line for each that is left out or empty.

    UserError where one is missing or none is left.
    """
    key, names = f"phases.{phase.name}.data", ", ".join(blend.dataset for blend in phase.data)
    prefixes = {blend: _prefixes(key, blend, workspace) for blend in phase.data}
    files = [(blend, IndexedDataset(prefix)) for blend, found in prefixes.items() for prefix in found]
    if not files:
        raise UserError(f"{key}: no tokens in {names}; run the stages that make them, or name another dataset")
    kept = [(blend, file) for blend, file in files if file.num_tokens >= least]
    notes = [f"{blend.dataset} is empty; the others take its share" for blend, found in prefixes.items() if not found]
    short = [(name_of(blend, file), file.num_tokens) for blend, file in files if file.num_tokens < least]
    notes += [f"{name} has {tokens:,} tokens, under one sample of {least:,}; left out" for name, tokens in short]
    if not kept:
        raise UserError(f"{key}: no source has the {least} tokens of one sample; give more data or lower seq_length")
    return kept, notes


def name_of(blend: Blend, data: IndexedDataset) -> str:
    """A source's name: dataset/LANGUAGE."""
    return f"{blend.dataset}/{data.prefix.name}"


def _prefixes(key: str, blend: Blend, workspace: Workspace) -> list[Path]:
    path = dataset_path(blend.dataset, workspace)
    found = dataset_prefixes(path)
    if not found and not (path / MANIFEST).is_file():
        raise UserError(f"{key}: dataset {blend.dataset}: no .idx in {path}; run the stage that makes it first")
    return found


def choose_subset(data: IndexedDataset, tokens: int, least: int, *names: str | int) -> Subset | None:
    """About so many tokens of a dataset in whole sequences, `least` or more, the same in every pass and phase; None: all of it."""
    if tokens >= data.num_tokens:
        return None
    nearest: tuple[int, Subset | None] = data.num_tokens, None
    for draw in range(_DRAWS):
        enough = subset_of(data.sequence_lengths, tokens, derive_key("subset", *names, draw))
        for subset in (enough, Subset(enough.count - 1, enough.key)):  # over the budget and under it
            found = tokens_of(data, subset)
            if found >= least and abs(found - tokens) < abs(nearest[0] - tokens):
                nearest = found, subset
        if abs(nearest[0] - tokens) <= _OFF * tokens:
            break
    return nearest[1]


def tokens_of(data: IndexedDataset, subset: Subset | None) -> int:
    """How many tokens a part of a dataset has."""
    return SequenceOrder(len(data), 0, 1, subset).count_tokens(data.sequence_lengths)


def file_starts(data: IndexedDataset) -> NDArray[np.int64]:
    """Where each file of a dataset begins in its .bin, in tokens; none where the dataset does not say."""
    path = beside(data.prefix, STARTS)
    if not path.is_file():
        return np.zeros(0, np.int64)
    check_companion(data.prefix, STARTS)
    try:
        starts = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: not an array of NumPy ({error}); {_REMEDY}") from error
    if starts.dtype != np.int64 or starts.ndim != 1:
        raise UserError(f"{path}: {starts.dtype}{list(starts.shape)} where int64[files] belongs; {_REMEDY}")
    for first in range(0, len(starts), BLOCK):
        block = starts[first : first + BLOCK + 1]
        if (np.diff(block) < 0).any() or block[0] < 0 or block[-1] > data.num_tokens:
            raise UserError(f"{path}: its files do not follow each other within the {data.num_tokens:,} tokens; {_REMEDY}")
    return starts


class Passes:
    """The samples of a source one after the other, for as long as they are asked for.

    They come in rounds. A round is a pass, or at first several passes shuffled together (`repeat: joint`).
    """

    def __init__(
        self, data: IndexedDataset, phase: Phase, seq_length: int, key: tuple[str | int, ...], subset: Subset | None, first: int = 0
    ) -> None:
        """`key`: what the order depends on, beside the number of the round; `first`: of its samples, the one that is number 0."""
        self.data, self.subset, self._phase, self._seq_length, self._key, self.first = data, subset, phase, seq_length, key, first
        self.different = tokens_of(data, subset)
        self._together = 1  # passes of the first round
        self._ends: list[int] = []  # of the rounds so far, in samples
        self._open: dict[int, SampleIndex] = {}

    def shuffle_together(self, passes: float) -> None:
        """Make the first round as many passes as are read."""
        self._together = max(1, math.floor(passes + 1 - _WHOLE_PASS))

    def after(self, count: int) -> Passes:
        """The samples that follow the first `count`."""
        assert self._together == 1, "passes that are shuffled together have no order to go on in"
        return Passes(self.data, self._phase, self._seq_length, self._key, self.subset, self.first + count)

    def together(self, number: int) -> int:
        """Passes in a round."""
        return 1 if number else self._together

    @property
    def samples_per_epoch(self) -> int:
        """Samples of one pass."""
        return self.size(0) // self._together

    def place(self, number: int) -> tuple[int, int]:
        """(round, position in it) of the source's sample of that number."""
        number += self.first
        while not self._ends or number >= self._ends[-1]:
            self._ends.append((self._ends[-1] if self._ends else 0) + self.size(len(self._ends)))
        found = bisect_right(self._ends, number)
        return found, number - (self._ends[found - 1] if found else 0)

    def size(self, number: int) -> int:
        """Samples of a round; those that are cut and not packed need no index for it."""
        if self._phase.packing == "concatenate":
            return samples_per_epoch(self.different * self.together(number), self._seq_length)
        return len(self.index(number))

    def index(self, number: int) -> SampleIndex:
        """Which tokens make up the samples of a round."""
        if number not in self._open:
            # A batch touches at most two neighbouring rounds of a source that is longer than it.
            self._open = {known: index for known, index in self._open.items() if known == number - 1}
            self._open[number] = SampleIndex.open(
                self.data,
                seq_length=self._seq_length,
                key=derive_key(*self._key, number),
                passes=self.together(number),
                packing=self._phase.packing,
                documents=self.subset,
            )
        return self._open[number]

    @cached_property
    def has_starts(self) -> bool:
        """Whether the dataset says where its files begin."""
        return beside(self.data.prefix, STARTS).is_file()

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each file begins in the .bin, in tokens; none where the dataset does not say."""
        return file_starts(self.data)
