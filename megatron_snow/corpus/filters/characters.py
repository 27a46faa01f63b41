"""What Python's str says of characters and lines, for many texts at once.

csrc/data/scan.cpp gives these at about 1 GB/s a core; the Python form below is the definition and the
fallback (about 20 MB/s).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.native import load_native
from megatron_snow.pipeline import Texts

Rows = NDArray[np.int64]
Values = NDArray[np.float64]
Counts = NDArray[np.int64]

# Bits of a character; csrc/data/utf8.h has the same.
_BITS: tuple[tuple[int, Callable[[str], bool]], ...] = (
    (1, str.isalpha),
    (2, str.isalnum),
    (4, str.isdigit),
    (8, str.isspace),
    (16, "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029".__contains__),  # what str.splitlines splits at
)
_ASSIGNED = 0x40000  # no character from here on is a letter, digit, blank or capital

COUNTED = ("characters", "lines", "line_characters", "longest_line", "letters", "alphanumerics", "digits", "blanks", "replacements")


@cache
def classes() -> NDArray[np.uint8]:
    """The bits of each code point."""
    table = np.zeros(0x110000, np.uint8)
    for bit, holds in _BITS:
        table[:_ASSIGNED] |= np.fromiter(map(holds, map(chr, range(_ASSIGNED))), bool, _ASSIGNED).astype(np.uint8) * np.uint8(bit)
    return table


@cache
def small_letters() -> NDArray[np.uint32]:
    """The small letter of each code point, itself where that is not one character."""
    table = np.arange(0x110000, dtype=np.uint32)
    for code in range(_ASSIGNED):
        lower = chr(code).lower()
        if len(lower) == 1:
            table[code] = ord(lower)
    return table


def call(name: str, texts: Texts, rows: Rows, columns: int, *tables: NDArray[Any]) -> Counts | None:
    """int64[rows, columns] of a function of csrc/data over rows of texts; None where that is not built."""
    native, _ = load_native()
    if native is None:
        return None
    out = np.empty((len(rows), columns), np.int64)
    arrays = (texts.data, texts.offsets, np.ascontiguousarray(rows, np.int64))  # named, or a copy is gone before it is read
    inputs = [_pointer(array) for array in arrays]
    getattr(native, name)(*inputs, ctypes.c_int64(len(rows)), *(_pointer(table) for table in tables), _pointer(out))
    return out


def bodies_of(texts: Texts, rows: Rows, limit: int = 0) -> Iterator[bytes]:
    """The texts of some rows as UTF-8, their first `limit` bytes where that is given."""
    data = texts.data.data
    for begin, end in zip(texts.offsets[rows].tolist(), texts.offsets[rows + 1].tolist()):
        yield bytes(data[begin : min(end, begin + limit) if limit else end])


def strings_of(texts: Texts, rows: Rows) -> Iterator[str]:
    """The texts of some rows as str."""
    return (body.decode() for body in bodies_of(texts, rows))


def count_characters(texts: Texts, rows: Rows) -> Mapping[str, Values]:
    """COUNTED, and the shares and means that follow; NaN where there is nothing to divide by."""
    counts = call("msnow_scan", texts, rows, len(COUNTED), classes())
    if counts is None:
        counts = table_of(map(counted_in, strings_of(texts, rows)), len(COUNTED))
    values = dict(zip(COUNTED, counts.T.astype(np.float64)))
    visible = values["characters"] - values["blanks"]
    with np.errstate(divide="ignore", invalid="ignore"):
        values["mean_line"] = values["line_characters"] / values["lines"]
        for share, part in (("alphanumeric", "alphanumerics"), ("letter", "letters"), ("blank", "blanks"), ("replacement", "replacements")):
            values[f"{share}_share"] = values[part] / values["characters"]
        values["visible_letter_share"] = values["letters"] / visible
        values["visible_digit_share"] = values["digits"] / visible
    return values


def counted_in(text: str) -> Sequence[int]:
    """COUNTED of one text: the definition."""
    lines = [len(line) for line in text.splitlines()]
    kinds = [sum(map(holds, text)) for holds in (str.isalpha, str.isalnum, str.isdigit, str.isspace)]
    return [len(text), len(lines), sum(lines), max(lines, default=0), *kinds, text.count("\ufffd")]


def table_of(counts: Any, columns: int) -> Counts:
    """int64[rows, columns] of an iterable of rows."""
    return np.array(list(counts), np.int64).reshape(-1, columns)


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
