"""What an .idx says is checked before it is believed: header, size, and that its sequences are the .bin, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from megatron_snow.common.errors import UserError
from megatron_snow.datasets.index_format import DTYPES, HEADER, MAGIC, VERSION

_FLOATS = {6: "float64", 7: "float32"}  # megatron-core's codes
_OLD_MAGIC = b"TNTIDX\x00\x00"  # fairseq's format, which Megatron wrote with --dataset-impl lazy or cached
_AGAIN = "make it again with tools/preprocess_data.py"
_CHUNK = 1 << 18  # sequences checked at a time: their arrays fit a core's cache


class Header(NamedTuple):
    """The head of an .idx: dtype of the tokens, sequences, entries of the document index."""

    dtype: np.dtype[np.integer]
    sequences: int
    marks: int


def read_header(index: Path, head: bytes, size: int) -> Header:
    """The header in the first bytes of an .idx of `size` bytes; UserError for all that is not a text dataset of integers."""
    if head[: len(MAGIC)] != MAGIC:
        if head.startswith(_OLD_MAGIC):
            raise UserError(f"{index}: an index of Megatron's old lazy or cached format (TNTIDX); {_AGAIN}")
        raise UserError(f"{index}: not an index of Megatron (its first bytes are {head[:9]!r}); {_AGAIN}")
    if len(head) < HEADER.size:
        raise UserError(f"{index}: {size} bytes, cut inside its header; {_AGAIN}")
    _, version, code, sequences, marks = HEADER.unpack(head[: HEADER.size])
    if version == VERSION << 56:
        raise UserError(f"{index}: big-endian; Megatron writes little-endian: {_AGAIN}")
    if version != VERSION:
        raise UserError(f"{index}: version {version}, {VERSION} is known; {_AGAIN}")
    if code in _FLOATS:
        raise UserError(f"{index}: its tokens are {_FLOATS[code]} (dtype code {code}); token ids are whole numbers: {_AGAIN}")
    if code not in DTYPES:
        raise UserError(f"{index}: dtype code {code} is not one of {sorted(DTYPES)} (whole numbers); {_AGAIN}")
    expected = HEADER.size + 12 * sequences + 8 * marks
    if size == expected + sequences and sequences:
        raise UserError(f"{index}: a multimodal index (it has a mode a sequence); this reads text only")
    if size != expected:
        raise UserError(f"{index}: {size} bytes where {sequences} sequences and {marks} document marks take {expected}; {_AGAIN}")
    return Header(np.dtype(DTYPES[code]), sequences, marks)


def check_layout(index: Path, lengths: np.ndarray, pointers: np.ndarray, marks: np.ndarray, itemsize: int, bin_bytes: int) -> None:
    """Sequences lie one after the other from 0 to the end of the .bin, documents begin where sequences do; UserError else.

    `lengths` int32[n] tokens, `pointers` int64[n] bytes, `marks` int64[m] sequences. Memory: one chunk.
    """
    remedy = "the .bin and the .idx do not belong together or one is damaged; make both again"
    total = 0
    for first in range(0, len(lengths), _CHUNK):
        part, starts = lengths[first : first + _CHUNK], pointers[first : first + _CHUNK]
        if part.min() < 0:
            number = first + int(part.argmin())
            raise UserError(f"{index}: sequence {number} has the length {lengths[number]}; {remedy}")
        ends = np.cumsum(part, dtype=np.int64)  # no overflow: under 2^18 * 2^31 * 8, and `total` is within the .bin
        ends *= itemsize
        ends += total
        if starts[0] != total or not np.array_equal(starts[1:], ends[:-1]):
            number = int(np.flatnonzero(starts != np.concatenate([[total], ends[:-1]]))[0]) + first
            raise UserError(f"{index}: sequence {number} starts at byte {pointers[number]}, not where the one before ends; {remedy}")
        total = int(ends[-1])
        if total > bin_bytes:
            break
    if total != bin_bytes:
        raise UserError(f"{index}: its sequences take {total} bytes, the .bin has {bin_bytes}; {remedy}")
    if not _ascend(marks, len(lengths)):
        raise UserError(f"{index}: its document marks do not run from 0 to {len(lengths)} sequences; {remedy}")


def _ascend(marks: np.ndarray, last: int) -> bool:
    if len(marks) == 0 or marks[0] != 0 or marks[-1] != last:
        return False
    return all(
        bool((marks[first + 1 : first + 1 + _CHUNK] >= marks[first : first + _CHUNK][: len(marks) - first - 1]).all())
        for first in range(0, len(marks) - 1, _CHUNK)
    )
