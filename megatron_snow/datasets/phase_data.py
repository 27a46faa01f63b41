"""The samples of a phase: its datasets, mixed, in an order that is a pure function of (seed, i)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError
from megatron_snow.config import Phase, Workspace
from megatron_snow.datasets.blends import BlendOrder
from megatron_snow.datasets.fim import fill_in_middle, fim_tokens
from megatron_snow.datasets.indexed import IndexedDataset
from megatron_snow.datasets.mixture import Part, Portion, solve
from megatron_snow.datasets.order import Span, Subset, derive_key
from megatron_snow.datasets.segments import PADDING
from megatron_snow.datasets.sources import Passes, Source, choose_subset, name_of, open_sources
from megatron_snow.tokenizers import Tokenizer


@dataclass(frozen=True)
class Batch:
    """Samples as rows.

    `segments` numbers the documents of a sample from 0: the files of a group, where the dataset says where they begin,
    else its documents. Positions that restart, document masks and the mask of the loss follow from it.
    """

    tokens: NDArray[np.int64]  # [n, seq_length + 1]: inputs are [:, :-1], targets [:, 1:]
    segments: NDArray[np.int32]  # [n, seq_length + 1]; PADDING where there is no document, and then tokens is end-of-document


class PhaseData:
    """Sample i of a phase, for i in range(samples); every rank builds the same one."""

    def __init__(
        self,
        phase: Phase,
        *,
        workspace: Workspace,
        seq_length: int,
        samples: int,
        seed: int,
        tokenizer: Tokenizer | None = None,
        cursors: Mapping[str, Passes] | None = None,
    ) -> None:
        """Open the datasets of `phase` and solve its mixture; UserError for data that is missing, damaged or too little.

        `tokenizer`: needed where samples are packed (for what fills them up) or filled in the middle; with it, documents inside
        a sequence of a dataset by others are told apart by their end-of-document tokens. `cursors`: by a source's name, what
        phases before have left of it, to go on with (`left`).
        """
        self.phase, self.seq_length, self._samples, self._tokenizer = phase, seq_length, samples, tokenizer
        files, self.notes = open_sources(phase, workspace, seq_length + 1)
        parts = [Part(blend, data.prefix.name, data.num_tokens) for blend, data in files]
        portions = solve(phase, parts, seq_length + 1)
        read = [(part, data, portion) for part, (_, data), portion in zip(parts, files, portions) if portion.share > 0]
        self.passes = [self._passes_of(part, data, portion, seed, cursors or {}) for part, data, portion in read]
        self._shares = [portion.share for _, _, portion in read]
        self.blend = BlendOrder(self._shares, samples)
        self.sources = tuple(self._source(*each) for each in zip(read, self.passes))
        self._fim = (fim_tokens(tokenizer, phase.name), derive_key("fim", seed, phase.name)) if phase.fim.rate else None

    def _passes_of(self, part: Part, data: IndexedDataset, portion: Portion, seed: int, cursors: Mapping[str, Passes]) -> Passes:
        name = name_of(part.blend, data)
        subset = choose_subset(data, portion.different, self.seq_length + 1, seed, name)
        if name in cursors:
            return self._go_on(name, cursors[name], subset)
        passes = Passes(data, self.phase, self.seq_length, (seed, self.phase.name, name), subset)
        if self.phase.repeat == "joint":
            passes.shuffle_together(portion.share * self._samples * self.seq_length / max(1, passes.different))
        return passes

    def _go_on(self, name: str, left: Passes, subset: Subset | None) -> Passes:
        if left.subset != subset:
            raise UserError(
                f"phases.{self.phase.name}.sample_cursor: carry, but {name} is {self._part(subset)} here and {self._part(left.subset)} "
                "in the phase before that reads it; give both the same budget of tokens, or set it to reset"
            )
        if left.first:
            self.notes.append(f"{name} goes on after the {left.first:,} samples that phases before read")
        return left

    @staticmethod
    def _part(subset: Subset | None) -> str:
        return f"a part of {subset.count:,} sequences" if subset else "the whole"

    def left(self) -> dict[str, Passes]:
        """By a source's name, what follows the samples that the phase reads of it."""
        return {source.name: passes.after(count) for source, passes, count in zip(self.sources, self.passes, self.blend.totals().tolist())}

    def _source(self, read: tuple[Part, IndexedDataset, Portion], passes: Passes) -> Source:
        part, data, portion = read
        given = round(portion.share * self._samples)
        return Source(
            name_of(part.blend, data), part.blend.dataset, part.language, data.prefix,
            part.tokens, passes.different, portion.share, given, passes.samples_per_epoch,
        )  # fmt: skip

    def __len__(self) -> int:
        return self._samples

    def locate(self, i: int) -> tuple[Source, int, int]:
        """(source, round from 0, position in it) of sample i. A round is an epoch, the first one several with `repeat: joint`."""
        source, number = self._number(i)
        return (self.sources[source], *self.passes[source].place(number))

    def passes_of(self, i: int) -> Passes:
        """The passes of the source of sample i."""
        return self.passes[self._number(i)[0]]

    def spans(self, i: int) -> list[Span]:
        """Where in its source's .bin the tokens of sample i lie."""
        source, number = self._number(i)
        passes = self.passes[source]
        of_round, position = passes.place(number)
        return passes.index(of_round).spans(position)

    def read(self, rows: Sequence[int]) -> Batch:
        """The samples with these numbers."""
        self._check(rows)
        batch = self._gather(rows)
        if self._fim is not None:
            fill_in_middle(batch.tokens, batch.segments, np.array(rows, np.int64), self.phase.fim, *self._fim)
        return batch

    def _gather(self, rows: Sequence[int]) -> Batch:
        shape = len(rows), self.seq_length + 1
        batch = Batch(np.empty(shape, np.int64), np.empty(shape, np.int32))
        parts: dict[tuple[int, int], list[tuple[int, int]]] = {}  # (source, round) -> (row, position in the round)
        for row, (source, number) in enumerate(zip(*map(np.ndarray.tolist, self.blend.at(rows)))):
            of_round, position = self.passes[source].place(number)
            parts.setdefault((source, of_round), []).append((row, position))
        for (source, of_round), places in parts.items():
            mine, positions = zip(*places)
            part = self._read(self.passes[source], of_round, positions)
            if len(parts) == 1:
                return part
            batch.tokens[list(mine)], batch.segments[list(mine)] = part.tokens, part.segments
        return batch

    def _read(self, passes: Passes, of_round: int, positions: Sequence[int]) -> Batch:
        """Samples of one round of a source."""
        index, shape = passes.index(of_round), (len(positions), self.seq_length + 1)
        tokens, segments = np.empty(shape, np.int64), np.empty(shape, np.int32)
        filled = index.read_rows(positions, tokens)
        index.segments(positions, passes.starts, segments)
        if filled.min() < shape[1]:
            tokens[segments == PADDING] = self._eod()
        if not passes.has_starts and self._tokenizer is not None:
            _split_at(self._tokenizer.eod, tokens, segments)
        return Batch(tokens, segments)

    def sample(self, i: int) -> NDArray[np.int64]:
        """The tokens of sample i, int64[seq_length + 1]."""
        return self.read([i]).tokens[0]

    def _number(self, i: int) -> tuple[int, int]:
        """(source, how many samples it gave before) of sample i."""
        self._check([i])
        sources, numbers = self.blend.at([i])
        return int(sources[0]), int(numbers[0])

    def _check(self, rows: Sequence[int]) -> None:
        for i in (min(rows), max(rows)) if len(rows) else ():
            if not 0 <= i < self._samples:
                raise IndexError(f"sample {i} of the {self._samples} of phase {self.phase.name}")

    def _eod(self) -> int:
        if self._tokenizer is None:
            raise UserError(f"phases.{self.phase.name}.packing: {self.phase.packing} fills samples up, which takes the tokenizer; give it")
        return self._tokenizer.eod


def _split_at(eod: int, tokens: NDArray[np.int64], segments: NDArray[np.int32]) -> None:
    """Number documents anew, those that an end-of-document parts included."""
    begins = np.diff(segments, axis=1, prepend=-1) > 0
    begins[:, 1:] |= tokens[:, :-1] == eod
    segments[:] = np.where(segments == PADDING, PADDING, np.cumsum(begins, axis=1, dtype=np.int32) - 1)
