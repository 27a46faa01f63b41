"""What a trainer derives from the segments of a batch: positions that restart, document masks, the mask of the loss.

`segments` is int32[n, width]: the number of the document at each place of a sample, from 0 and never falling, PADDING where there
is none (at the end of a row). Pure functions; inputs of a model are segments[:, :-1], its targets [:, 1:].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PADDING = -1  # in place of the number of a document

Segments = NDArray[np.int32]


def document_starts(segments: Segments) -> NDArray[np.bool_]:
    """Whether a document (or the padding, which counts as one) begins at a place, bool[n, width]; a row begins one."""
    starts = np.ones(segments.shape, bool)
    np.not_equal(segments[:, 1:], segments[:, :-1], out=starts[:, 1:])
    return starts


def positions(segments: Segments) -> NDArray[np.int64]:
    """Positions that restart with each document (reset_position_ids), int64[n, width]; those of the padding do too."""
    places = np.broadcast_to(np.arange(segments.shape[1]), segments.shape)
    return places - np.maximum.accumulate(np.where(document_starts(segments), places, 0), axis=1)


def cumulative_lengths(segments: Segments) -> tuple[NDArray[np.int32], int]:
    """(cu_seqlens int32[documents + 1], max_seqlen) of the rows laid end to end, as flash-attn's varlen functions take them.

    cu_seqlens[k] is where document k begins in range(n * width). Rows are documents of their own, and so is a row's padding,
    whose outputs the mask of the loss leaves out. n * width must be below 2^31.
    """
    starts = np.flatnonzero(document_starts(segments))
    ends = np.append(starts, segments.size).astype(np.int32)
    return ends, int(np.diff(ends).max(initial=0))


def document_mask(segments: Segments) -> NDArray[np.bool_]:
    """mask[row, query, key]: whether a query may see a key: the same document, not after it. bool[n, width, width].

    A reference for tests and small models: quadratic in the width. Padding sees itself.
    """
    width = segments.shape[1]
    same = segments[:, :, None] == segments[:, None, :]
    return same & np.tri(width, dtype=bool)


def loss_mask(segments: Segments, *, first_tokens: bool = True) -> NDArray[np.bool_]:
    """Which targets count, bool[n, width - 1] for segments[:, 1:].

    Padding does not. first_tokens=False leaves out the first token of a next document as well, which a model that cannot see the
    document before can only guess.
    """
    targets = segments[:, 1:] != PADDING
    return targets if first_tokens else targets & ~document_starts(segments)[:, 1:]
