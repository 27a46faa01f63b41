"""The way back from tokens to samples: which samples of a phase read them. The orders are bijections, so nothing is searched through.

A token's sequence has a place in the order of each pass, the place a sample, the sample a position in the pass; and the blend gives a
source's n-th sample at about n over its share. Fill-in-the-middle can cut a sample's last tokens off after they were read.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megatron_snow.datasets.blends import BlendOrder
from megatron_snow.datasets.indexed import IndexedDataset
from megatron_snow.datasets.order import BLOCK
from megatron_snow.datasets.phase_data import PhaseData
from megatron_snow.datasets.sample_index import SampleIndex
from megatron_snow.datasets.sources import Passes


def samples_with(data: PhaseData, prefix: Path, first_token: int, count: int) -> list[int]:
    """The samples of a phase that read any of `count` tokens of PREFIX.bin from `first_token` on, ascending."""
    found: set[int] = set()
    for number, source in enumerate(data.sources):
        if source.path.resolve() == prefix.resolve():
            passes = data.passes[number]
            numbers = np.array(sorted(_numbers(passes, passes.first + source.samples + 2, first_token, count)), np.int64) - passes.first
            found.update(_in_blend(data.blend, number, source.share, numbers[numbers >= 0]))
    return sorted(found)


def _numbers(passes: Passes, given: int, first: int, count: int) -> Iterator[int]:
    """Which of the first `given` samples of a source, pass after pass, read the tokens."""
    start = of_round = 0
    while start < given and passes.size(of_round):
        index = passes.index(of_round)
        for sequence, offset, tokens in _in_sequences(passes.data, first, count):
            yield from (start + k for k in _positions(index, sequence, offset, tokens) if _reads(index, k, first, count))
        start += passes.size(of_round)
        of_round += 1


def _in_sequences(data: IndexedDataset, first: int, count: int) -> Iterator[tuple[int, int, int]]:
    """(sequence, offset in it, tokens) of a range of the .bin."""
    itemsize, end = data.dtype.itemsize, first + count
    number = int(np.searchsorted(data.sequence_pointers, first * itemsize, side="right")) - 1
    while first < end and number < len(data):
        start = int(data.sequence_pointers[number]) // itemsize
        here = min(end, start + int(data.sequence_lengths[number])) - first
        if here > 0:
            yield number, first - start, here
            first += here
        number += 1


def _positions(index: SampleIndex, sequence: int, offset: int, count: int) -> set[int]:
    """The positions of the samples that may hold tokens of a sequence: these, and neighbours."""
    stored = (_cut if index.firsts is None else _packed)(index, sequence, offset, count)
    return {index.order.inverse(number) for number in stored}


def _cut(index: SampleIndex, sequence: int, offset: int, count: int) -> Iterator[int]:
    """Numbers of samples that are cut from the stream: each token lies between the beginnings of two."""
    order, rows = index.sequences, index.rows  # (place, offset) of the beginnings, ascending
    number = order.chosen.inverse(sequence) if order.chosen else sequence
    if number >= order.sequences:
        return  # not in the part that is read
    ends = (offset, offset + count - 1)
    for again in range(order.passes):
        place = order.places.inverse(number + again * order.sequences)
        first, last = (bisect_right(range(len(rows)), (place, at), key=lambda row: tuple(rows[row].tolist())) for at in ends)
        yield from range(max(0, first - 2), last)  # a sample's last token is the next one's first


def _packed(index: SampleIndex, sequence: int, offset: int, count: int) -> Iterator[int]:
    """Numbers of packed samples: their pieces stand in no order, all are looked at."""
    assert index.firsts is not None
    for first in range(0, len(index.rows), BLOCK):
        pieces = index.rows[first : first + BLOCK]
        near = (pieces[:, 0] == sequence) & (pieces[:, 1] < offset + count) & (pieces[:, 1] + index.seq_length + 1 > offset)
        for row in np.flatnonzero(near).tolist():
            yield int(np.searchsorted(index.firsts, first + row, side="right")) - 1


def _reads(index: SampleIndex, k: int, first: int, count: int) -> bool:
    return any(span.first_token < first + count and span.first_token + span.count > first for span in index.spans(k))


def _in_blend(blend: BlendOrder, source: int, share: float, numbers: NDArray[np.int64]) -> Iterator[int]:
    """The samples of the blend that are a source's of these numbers; each is less than one off its share."""
    for number in numbers.tolist():
        first, end = math.floor(number / share) - 2, math.ceil((number + 1) / share) + 3
        rows = np.arange(max(0, first), min(len(blend), end))
        sources, given = blend.at(rows)
        yield from rows[(sources == source) & (given == number)].tolist()
