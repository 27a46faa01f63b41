"""Where the samples of concatenated sequences begin: one pass over the lengths, in the order of training."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np

from megatron_snow.common.native import load_native
from megatron_snow.datasets.index_cache import Made
from megatron_snow.datasets.order import BLOCK, SequenceOrder, samples_per_epoch
from megatron_snow.datasets.permutation import pointer


class _Walk(ctypes.Structure):
    """How far the stream was gone through: struct Walk of csrc/data/samples.cpp."""

    _fields_ = [("place", ctypes.c_uint64), ("position", ctypes.c_int64), ("start", ctypes.c_int64)]


def row_dtype(sequences: int) -> np.dtype[np.unsignedinteger]:
    """Of the numbers in an index over so many sequences; offsets in one always fit 32 bits."""
    return np.dtype(np.uint32 if sequences <= 2**32 else np.uint64)


def concatenate(lengths: np.ndarray, sequences: SequenceOrder, seq_length: int) -> Made:
    """Rows (place of the sequence in the order, offset in it) at which samples begin, in the order of the stream."""
    tokens = sequences.count_tokens(lengths)
    samples = samples_per_epoch(tokens, seq_length)
    dtype = row_dtype(len(sequences))
    native, _ = load_native()
    rows = _rows if native is None else _native_rows
    return Made(tokens, samples, samples, 2 * dtype.itemsize, False, rows(lengths, sequences, seq_length, samples, dtype))


def _native_rows(lengths: np.ndarray, sequences: SequenceOrder, seq_length: int, samples: int, dtype: np.dtype) -> Iterator[np.ndarray]:
    native, _ = load_native()
    assert native is not None
    native.msnow_concatenate.restype = ctypes.c_int64
    walk, rows, left = _Walk(), np.empty((min(samples, BLOCK), 2), dtype), samples
    while left:
        count = native.msnow_concatenate(
            ctypes.byref(sequences.native), pointer(lengths), ctypes.c_int64(seq_length), ctypes.c_int64(samples * seq_length),
            ctypes.byref(walk), pointer(rows), ctypes.c_int64(dtype.itemsize == 8), ctypes.c_int64(len(rows)),
        )  # fmt: skip
        assert count, (walk.place, left)
        yield rows[:count]
        left -= count


def _rows(lengths: np.ndarray, sequences: SequenceOrder, seq_length: int, samples: int, dtype: np.dtype) -> Iterator[np.ndarray]:
    """The same with NumPy, where csrc/data is not built."""
    position, start = 0, 0  # of the block, of the next sample, in tokens of the stream
    for first in range(0, len(sequences), BLOCK):
        places = np.arange(first, min(first + BLOCK, len(sequences)))
        ends = position + np.cumsum(lengths[sequences(places)], dtype=np.int64)
        starts = np.arange(start, min(samples * seq_length, int(ends[-1])), seq_length)
        found = np.searchsorted(ends, starts, side="right")
        begins = np.concatenate([[position], ends])[found]
        yield np.stack([first + found, starts - begins], axis=1).astype(dtype)
        position, start = int(ends[-1]), start + len(starts) * seq_length
