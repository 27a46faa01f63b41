"""The samples of a phase: its datasets, blended, in an order that is a pure function of (seed, i)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.common.records import MANIFEST
from megatron_snow.config import Blend, Phase, Workspace, file_name_of
from megatron_snow.datasets.blends import blend_order, language_shares
from megatron_snow.datasets.indexed import IndexedDataset
from megatron_snow.datasets.order import EpochOrder, Span, derive_key, samples_per_epoch

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """One .bin/.idx of a phase."""

    name: str  # dataset/LANGUAGE
    language: str  # the file's name: "Python", "C++"
    path: Path  # prefix of the .bin and .idx
    share: float  # of the phase's samples
    samples: int  # it gives in this phase
    samples_per_epoch: int

    @property
    def epochs(self) -> float:
        """Passes over the source in this phase."""
        return self.samples / self.samples_per_epoch


class _Member:
    """A source while it is read: its file and the order of the epoch at hand."""

    def __init__(self, name: str, data: IndexedDataset, weight: float, seq_length: int) -> None:
        self.name, self.data, self.weight = name, data, weight
        self.language = data.prefix.name
        self.samples_per_epoch = samples_per_epoch(data.num_tokens, seq_length)
        self._seq_length = seq_length
        self._orders: dict[int, EpochOrder] = {}

    def order(self, epoch: int, key: int) -> EpochOrder:
        if epoch not in self._orders:
            # A batch touches at most two neighbouring epochs of a source that is longer than it; 24 bytes a group each.
            self._orders = {known: order for known, order in self._orders.items() if known == epoch - 1}
            self._orders[epoch] = EpochOrder(self.data.document_ends, self._seq_length, key)
        return self._orders[epoch]


class PhaseData:
    """Sample i of a phase, for i in range(samples); every rank builds the same one."""

    def __init__(self, phase: Phase, *, workspace: Workspace, seq_length: int, samples: int, seed: int) -> None:
        """Open the datasets of `phase`; UserError where one is missing, damaged or where a target language has no data."""
        self.phase, self.seq_length, self._samples, self._seed = phase, seq_length, samples, seed
        members = _long_enough(list(_open_members(phase, workspace, seq_length)), phase, seq_length)
        targets = {file_name_of(language): share for language, share in phase.languages.items()}
        shares = language_shares(
            [member.weight for member in members], [member.language for member in members], targets, f"phases.{phase.name}.languages"
        )
        self._members = [member for member, share in zip(members, shares) if share > 0]
        self._shares = [share for share in shares if share > 0]
        _warn_of_repeats(self._members, self._shares, phase, samples)

    def __len__(self) -> int:
        return self._samples

    @cached_property
    def _source_of(self) -> np.ndarray:
        return blend_order(self._shares, self._samples)

    @cached_property
    def _number_of(self) -> np.ndarray:
        """How many samples its source gave before sample i, int32[samples]."""
        number = np.empty(self._samples, np.int32)
        for source in range(len(self._members)):
            mine = self._source_of == source
            number[mine] = np.arange(np.count_nonzero(mine), dtype=np.int32)
        return number

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """What gives how much."""
        given = np.bincount(self._source_of, minlength=len(self._members))
        return tuple(
            Source(member.name, member.language, member.data.prefix, share, int(count), member.samples_per_epoch)
            for member, share, count in zip(self._members, self._shares, given)
        )

    def locate(self, i: int) -> tuple[Source, int, int]:
        """(source, epoch from 0, position within the epoch) of sample i."""
        if not 0 <= i < self._samples:
            raise IndexError(f"sample {i} of the {self._samples} of phase {self.phase.name}")
        source = self.sources[self._source_of[i]]
        epoch, position = divmod(int(self._number_of[i]), source.samples_per_epoch)
        return source, epoch, position

    def spans(self, i: int) -> list[Span]:
        """Where in its source's .bin the tokens of sample i lie."""
        _, epoch, position = self.locate(i)
        return self._order(int(self._source_of[i]), epoch).spans(position)

    def sample(self, i: int) -> np.ndarray:
        """The tokens of sample i, int64[seq_length + 1]: inputs are [:-1], targets [1:]."""
        spans, data = self.spans(i), self._members[self._source_of[i]].data
        tokens, filled = np.empty(self.seq_length + 1, np.int64), 0
        for span in spans:
            tokens[filled : filled + span.count] = data.read(span.first_token, span.count)
            filled += span.count
        return tokens

    def batch(self, indices: Iterable[int]) -> np.ndarray:
        """Samples as rows, int64[n, seq_length + 1]."""
        rows = [self.sample(i) for i in indices]
        return np.stack(rows) if rows else np.empty((0, self.seq_length + 1), np.int64)

    def _order(self, source: int, epoch: int) -> EpochOrder:
        member = self._members[source]
        return member.order(epoch, derive_key(self._seed, self.phase.name, member.name, epoch))


# Up to four passes teach nearly as much as new data (Muennighoff 2023; the paper's Table 6 chose four).
_MANY_EPOCHS = 4.5


def _warn_of_repeats(members: Sequence[_Member], shares: Sequence[float], phase: Phase, samples: int) -> None:
    for member, share in zip(members, shares):
        epochs = share * samples / member.samples_per_epoch
        if epochs > _MANY_EPOCHS:
            _log.warning("phase %s: %s has %d tokens, read %.0f times", phase.name, member.name, member.data.num_tokens, epochs)


def _open_members(phase: Phase, workspace: Workspace, seq_length: int) -> Iterable[_Member]:
    """The files of each dataset with their weights: the dataset's share, split by tokens."""
    names = ", ".join(blend.dataset for blend in phase.data)
    if len({blend.dataset for blend in phase.data}) < len(phase.data):
        raise UserError(f"phases.{phase.name}.data: {names}: a dataset is named twice; add its shares up")
    folders = {blend: _prefixes(blend, phase, workspace) for blend in phase.data}
    if not any(folders.values()):
        raise UserError(f"phases.{phase.name}.data: no tokens in {names}; run the stages that make them, or name another dataset")
    for blend, prefixes in folders.items():
        files = [IndexedDataset(prefix) for prefix in prefixes]
        tokens = sum(file.num_tokens for file in files)
        for file in files:
            yield _Member(f"{blend.dataset}/{file.prefix.name}", file, blend.share * file.num_tokens / max(1, tokens), seq_length)


def _prefixes(blend: Blend, phase: Phase, workspace: Workspace) -> list[Path]:
    """The .idx files of a dataset without their ending; a name with a slash is a path: a folder, or the prefix of one dataset."""
    path = Path(blend.dataset) if "/" in blend.dataset else workspace.tokens(blend.dataset)
    if beside(path, ".idx").is_file():
        return [path]
    found = sorted(index.with_name(index.name.removesuffix(".idx")) for index in path.glob("*.idx") if not index.name.startswith("."))
    if found:
        return found
    if not (path / MANIFEST).is_file():
        raise UserError(f"phases.{phase.name}.data: dataset {blend.dataset}: no .idx in {path}; run the stage that makes it first")
    _log.warning("phase %s: dataset %s is empty (%s has no tokens); the others take its share", phase.name, blend.dataset, path)
    return []


def _long_enough(members: list[_Member], phase: Phase, seq_length: int) -> list[_Member]:
    """Without sources that have less than one sample, with a warning."""
    for member in members:
        if not member.samples_per_epoch:
            tokens = member.data.num_tokens
            _log.warning("phase %s: %s has %d tokens, under one sample of %d; left out", phase.name, member.name, tokens, seq_length + 1)
    kept = [member for member in members if member.samples_per_epoch]
    if not kept:
        raise UserError(
            f"phases.{phase.name}.data: no source has the {seq_length + 1} tokens of one sample; give more data or lower seq_length"
        )
    return kept
