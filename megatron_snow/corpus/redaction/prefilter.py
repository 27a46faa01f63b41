"""Which lines can hold a finding: one compiled pass over the bytes of a batch (csrc/data/hints.cpp)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.native import load_native
from megatron_snow.corpus.redaction.assignments import LEAST
from megatron_snow.pipeline import Texts


class Candidate(NamedTuple):
    """A line, by the number of its text and its bytes in `Texts.data`; a bit of `mask` for each detector that may find."""

    text: int
    start: int
    end: int
    mask: int


class Hints(NamedTuple):
    """Literals (lower case, two bytes or more) with the bits of their detectors, and the bits that need no literal."""

    literals: dict[str, int]
    email: int
    ipv4: int
    ipv6: int
    assignment: int  # a bit that also needs a run of letters and digits


def candidates(texts: Texts, hints: Hints) -> Iterator[Candidate]:
    """The lines with a hint, in order. Without the compiled helper every line, for every detector."""
    native, _ = load_native()
    if native is None or not hasattr(native, "msnow_hints"):
        yield from _every_line(texts)
        return
    data, offsets, masks = _arrays(hints)
    capacity = 1024 + len(texts.data) // 1000  # a line in 30, at 33 bytes a line
    while True:
        lines = np.empty((capacity, 4), np.int64)
        native.msnow_hints.restype = ctypes.c_int64
        found = native.msnow_hints(
            _pointer(texts.data), _pointer(texts.offsets), ctypes.c_int64(len(texts)), _pointer(data), _pointer(offsets), _pointer(masks),
            ctypes.c_int64(len(masks)), *(ctypes.c_uint64(bits) for bits in hints[1:]), ctypes.c_int64(LEAST), _pointer(lines),
            ctypes.c_int64(capacity),
        )  # fmt: skip
        if found <= capacity:
            yield from map(Candidate._make, lines[:found].tolist())
            return
        capacity = found


@cache
def _literals(items: tuple[tuple[str, int], ...]) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint64]]:
    offsets = np.cumsum([0, *(len(literal) for literal, _ in items)], dtype=np.int64)
    data = np.frombuffer("".join(literal for literal, _ in items).encode("ascii"), np.uint8)
    return data, offsets, np.array([mask for _, mask in items], np.uint64)


def _arrays(hints: Hints) -> Sequence[NDArray[Any]]:
    return _literals(tuple(hints.literals.items()))


def _every_line(texts: Texts) -> Iterator[Candidate]:
    data = texts.data.tobytes()
    for text, (start, stop) in enumerate(zip(texts.offsets.tolist(), texts.offsets[1:].tolist())):
        while start < stop:
            end = data.find(b"\n", start, stop)
            end = stop if end < 0 else end
            yield Candidate(text, start, end, (1 << 63) - 1)
            start = end + 1


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
