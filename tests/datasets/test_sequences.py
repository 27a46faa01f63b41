"""Cutting groups into sequences: the rule against the plain way, in stretches of any size."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from megatron_snow.datasets.sequences import NOTHING, Separation, SequenceCutter


def plain(lengths: list[int], group_begins: list[bool], between: int, limit: int) -> list[bool]:
    """A file after the other."""
    begins, tokens = [], 0
    for length, first in zip(lengths, group_begins):
        cut = first or tokens + between + length + 1 > limit
        tokens = length if cut else tokens + between + length
        begins.append(cut)
    return begins


@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=60),
    st.sampled_from([NOTHING, 7]),
    st.integers(2, 40),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_cuts_are_those_of_the_plain_way(files: list[tuple[int, bool]], separator: int, limit: int, borders: list[int]) -> None:
    lengths, group_begins = [length for length, _ in files], [number == 0 or begins for number, (_, begins) in enumerate(files)]
    cutter = SequenceCutter(Separation(eod=0, separator=separator, max_tokens=limit))
    cuts = [0, *sorted(border for border in borders if border < len(files)), len(files)]
    found = [
        begin
        for first, last in itertools.pairwise(cuts)
        for begin in cutter.begins(np.array(lengths[first:last], np.int64), np.array(group_begins[first:last], bool)).tolist()
    ]
    assert found == plain(lengths, group_begins, int(separator != NOTHING), limit)
