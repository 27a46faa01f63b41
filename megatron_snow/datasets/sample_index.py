"""The samples of one dataset in one pass, or of several passes shuffled together: which tokens make up the k-th.

Concatenated (Megatron's GPTDataset): the sequences in a random order end to end; samples of seq_length + 1
tokens cut from that, each overlapping the next by one token, so that every token but the first is a target
once; a tail shorter than a sample is dropped. Stored is where each sample begins. Best fit (`packing`): whole
pieces. The samples stand in a random order of their own, which is computed and not stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from megatron_snow.datasets.indexed import IndexedDataset
from megatron_snow.datasets.order import BLOCK, Permutation, SequenceOrder, Span, Subset, derive_key


class SampleIndex:
    """The samples of a dataset; `tokens` in them, `padding_share` of their places without one."""

    @classmethod
    def open(
        cls,
        data: IndexedDataset,
        *,
        seq_length: int,
        key: int,
        passes: int = 1,
        packing: Literal["concatenate", "best_fit"] = "concatenate",
        documents: Subset | None = None,
        cache: Path | None = None,
    ) -> SampleIndex:
        """From the cache, or built and put there.

        `key`: 64 bits, another for each pass; `passes` > 1: so many passes shuffled together (Megatron's way);
        `documents`: of a part of the sequences; `cache`: the folder, by default `index` beside the dataset.
        """
        assert packing == "concatenate"
        sequences = SequenceOrder(len(data), derive_key("sequences", key), passes, documents)
        rows = np.concatenate([np.zeros((0, 2), np.uint32), *concatenate(data.sequence_lengths, sequences, seq_length)])
        return cls(data, sequences, rows, seq_length, key)

    def __init__(self, data: IndexedDataset, sequences: SequenceOrder, rows: np.ndarray, seq_length: int, key: int) -> None:
        self.seq_length, self._data, self._sequences, self._rows = seq_length, data, sequences, rows
        self._order = Permutation(len(rows), derive_key("samples", key))
        self.padding_share = 0.0

    def __len__(self) -> int:
        return len(self._rows)

    def spans(self, k: int) -> list[Span]:
        """Where in the .bin the tokens of sample k lie: seq_length + 1 of them, or fewer if packed. IndexError outside of range(len)."""
        ordinal, offset = map(int, self._rows[self._order(k)])
        spans, missing = [], self.seq_length + 1
        while missing:
            sequence = self._sequences(ordinal)
            count = min(missing, int(self._data.sequence_lengths[sequence]) - offset)
            if count:
                spans.append(Span(int(self._data.sequence_starts[sequence]) + offset, count))
            ordinal, offset, missing = ordinal + 1, 0, missing - count
        return spans

    def read(self, k: int, out: np.ndarray) -> int:
        """Put the tokens of sample k into out, int64[seq_length + 1]; how many there are (fewer only if packed; the rest stays)."""
        filled = 0
        for span in self.spans(k):
            out[filled : filled + span.count] = self._data.read(span.first_token, span.count)
            filled += span.count
        return filled


def concatenate(lengths: np.ndarray, sequences: SequenceOrder, seq_length: int) -> Iterator[np.ndarray]:
    """Blocks of rows (place of the sequence in the order, offset in it) at which the samples begin, in the order of the stream."""
    position, start = 0, 0  # of the block, of the next sample, in tokens of the stream
    total = sequences.count_tokens(lengths)
    last = max(0, (total - 1) // seq_length) * seq_length
    for first in range(0, len(sequences), BLOCK):
        ordinals = np.arange(first, min(first + BLOCK, len(sequences)))
        ends = position + np.cumsum(lengths[sequences(ordinals)], dtype=np.int64)
        starts = np.arange(start, min(last, int(ends[-1])), seq_length)
        places = np.searchsorted(ends, starts, side="right")
        begins = np.concatenate([[position], ends])[places]
        yield np.stack([first + places, starts - begins], axis=1).astype(np.uint32 if len(sequences) <= 2**32 else np.uint64)
        position, start = int(ends[-1]), start + len(starts) * seq_length
