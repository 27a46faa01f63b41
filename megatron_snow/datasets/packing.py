"""Best-fit packing (Ding et al. 2024, "Fewer Truncations Improve Language Modeling", arXiv 2404.10830).

A sequence longer than a sample of seq_length + 1 tokens is cut into full pieces and a rest; the rests, the
longest first, each go into the sample in which they leave the least room. Every token is in exactly one
sample, no document is cut that fits into one, and what stays empty is for the reader to fill up.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.native import load_native
from megatron_snow.datasets.concatenation import row_dtype
from megatron_snow.datasets.index_cache import Made
from megatron_snow.datasets.order import BLOCK, SequenceOrder
from megatron_snow.datasets.permutation import pointer


def pack_best_fit(lengths: NDArray[np.int32], sequences: SequenceOrder, seq_length: int) -> Made:
    """Rows (sequence, offset) of the pieces, sample by sample: those of one full piece, then the packed, their last piece first.

    Rests of the same length go by the order of `sequences`: another pass packs other documents together.
    """
    dtype = row_dtype(max(len(sequences), len(lengths)) + 1)  # the largest number means none
    native, _ = load_native()
    return (_pack_in_python if native is None else _pack)(lengths, sequences, seq_length + 1, dtype)


@dataclass(frozen=True)
class _Packed:
    """The rests in samples: piece `last[sample]` of a sample, then `next[piece]`; pieces are numbered as in `sorted`."""

    sorted: np.ndarray  # their sequences
    next: np.ndarray
    last: np.ndarray
    pieces: NDArray[np.uint32]  # of each sample


def _pack(lengths: NDArray[np.int32], sequences: SequenceOrder, capacity: int, dtype: np.dtype) -> Made:
    native, _ = load_native()
    assert native is not None
    native.msnow_pack_count.restype = native.msnow_pack_fit.restype = ctypes.c_int64
    order, wide, size = ctypes.byref(sequences.native), ctypes.c_int64(dtype.itemsize == 8), ctypes.c_int64(capacity)
    counts = np.zeros(capacity, np.int64)
    num_full = native.msnow_pack_count(order, pointer(lengths), size, pointer(counts))
    counts[0] = 0
    rests = int(counts.sum())
    cursors = rests - np.cumsum(counts)  # the longest come first
    full, ordered = np.empty((num_full, 2), dtype), np.empty(rests, dtype)
    native.msnow_pack_sort(order, pointer(lengths), size, pointer(cursors), pointer(full), pointer(ordered), wide)
    following, last, below, pieces = (np.empty(rests, kind) for kind in (dtype, dtype, dtype, np.uint32))
    samples = native.msnow_pack_fit(pointer(counts), size, pointer(following), pointer(last), pointer(below), pointer(pieces), wide)
    tokens = num_full * capacity + int(counts @ np.arange(capacity))
    packed = _Packed(ordered, following, last[:samples], pieces[:samples])
    return Made(tokens, num_full + samples, num_full + rests, 2 * dtype.itemsize, True, _chunks(lengths, capacity, full, packed))


def _chunks(lengths: NDArray[np.int32], capacity: int, full: np.ndarray, packed: _Packed) -> Iterator[np.ndarray]:
    """The parts of the file, with the rows of at most BLOCK samples in memory."""
    native, _ = load_native()
    assert native is not None
    yield np.arange(len(full) + 1, dtype=np.int64)
    end = len(full)
    for first in range(0, len(packed.pieces), BLOCK):
        yield end + np.cumsum(packed.pieces[first : first + BLOCK], dtype=np.int64)
        end += int(packed.pieces[first : first + BLOCK].sum())
    yield full
    for first in range(0, len(packed.pieces), BLOCK):
        pieces = packed.pieces[first : first + BLOCK]
        rows = np.empty((int(pieces.sum()), 2), packed.sorted.dtype)
        native.msnow_pack_rows(
            pointer(packed.sorted), pointer(packed.next), pointer(packed.last), ctypes.c_int64(first), ctypes.c_int64(len(pieces)),
            pointer(lengths), ctypes.c_int64(capacity), pointer(rows), ctypes.c_int64(rows.itemsize == 8),
        )  # fmt: skip
        yield rows


def _pack_in_python(lengths: NDArray[np.int32], sequences: SequenceOrder, capacity: int, dtype: np.dtype) -> Made:
    """The same where csrc/data is not built."""
    order = sequences(np.arange(len(sequences)))
    sizes = lengths[order].astype(np.int64)
    full = np.repeat(np.arange(len(order)), sizes // capacity)
    offsets = np.arange(len(full)) - np.searchsorted(full, full)
    rests = sizes % capacity
    pieces = np.argsort(-rests, kind="stable")[: np.count_nonzero(rests)]
    samples = _fit(rests[pieces].tolist(), capacity)
    by_sample = np.lexsort((-np.arange(len(pieces)), samples))
    chosen = pieces[by_sample]
    rows = np.concatenate([np.stack([order[full], offsets * capacity], 1), np.stack([order[chosen], (sizes - rests)[chosen]], 1)])
    counts = np.concatenate([np.ones(len(full), np.int64), np.bincount(samples) if len(samples) else samples])
    firsts = np.concatenate([[0], np.cumsum(counts)])
    return Made(int(sizes.sum()), len(counts), len(rows), 2 * dtype.itemsize, True, [firsts, rows.astype(dtype)])


def _fit(lengths: list[int], capacity: int) -> NDArray[np.int64]:
    """The sample of each piece, of falling lengths: of those with the least room that is enough, the one that was touched last."""
    rooms: list[int] = []  # ascending
    stacks: dict[int, list[int]] = {}  # samples with so much room
    samples, chosen = 0, []
    for length in lengths:
        found = bisect_left(rooms, length)
        if found == len(rooms):
            sample, room = samples, capacity
            samples += 1
        else:
            room = rooms[found]
            sample = stacks[room].pop()
            if not stacks[room]:
                rooms.pop(found)
        chosen.append(sample)
        if rest := room - length:
            if not stacks.setdefault(rest, []):
                insort(rooms, rest)
            stacks[rest].append(sample)
    return np.array(chosen, np.int64)
