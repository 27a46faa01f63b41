"""Positions, masks and lengths of documents against naive loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from megatron_snow.datasets.segments import (
    PADDING,
    Segments,
    cumulative_lengths,
    document_mask,
    document_starts,
    loss_mask,
    positions,
)


@st.composite
def batches(draw: st.DrawFn) -> Segments:
    """Rows of one to several documents, some with padding at the end."""
    n, width = draw(st.integers(1, 4)), draw(st.integers(2, 24))
    changes = draw(arrays(bool, (n, width), elements=st.booleans()))
    changes[:, 0] = False
    segments = np.cumsum(changes, axis=1, dtype=np.int32)
    for row in range(n):
        segments[row, draw(st.integers(1, width)) :] = PADDING
    return segments


@given(batches())
def test_positions_restart_with_each_document(segments: Segments) -> None:
    for row, found, starts in zip(segments, positions(segments), document_starts(segments)):
        at = 0
        for place, number in enumerate(row):
            at = 0 if place == 0 or number != row[place - 1] else at + 1
            assert found[place] == at
            assert starts[place] == (at == 0)


@given(batches())
def test_cumulative_lengths_are_those_of_the_documents(segments: Segments) -> None:
    ends, longest = cumulative_lengths(segments)
    lengths = [int((row == number).sum()) for row in segments for number in dict.fromkeys(row.tolist())]
    assert np.diff(ends).tolist() == lengths
    assert (ends[0], ends[-1], longest, ends.dtype) == (0, segments.size, max(lengths), np.int32)


@given(batches())
def test_the_document_mask_is_causal_within_documents(segments: Segments) -> None:
    for row, mask in zip(segments, document_mask(segments)):
        for query in range(len(row)):
            for key in range(len(row)):
                assert mask[query, key] == (key <= query and row[key] == row[query])


@given(batches())
def test_the_mask_agrees_with_the_lengths(segments: Segments) -> None:
    """Each place sees as many as its position in its document says."""
    assert np.array_equal(document_mask(segments).sum(-1), positions(segments) + 1)


@given(batches(), st.booleans())
def test_the_loss_leaves_out_padding_and_first_tokens(segments: Segments, first_tokens: bool) -> None:
    mask = loss_mask(segments, first_tokens=first_tokens)
    assert mask.shape == (segments.shape[0], segments.shape[1] - 1)
    for row, of_row in zip(segments, mask):
        for place in range(1, len(row)):
            counts = row[place] != PADDING and (first_tokens or row[place] == row[place - 1])
            assert of_row[place - 1] == counts
