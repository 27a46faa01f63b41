"""Words as decontamination compares them: runs of `\\w`, each character in lower case on its own.

`str.lower` looks at a whole text: it makes two characters of U+0130 and another sigma at the end of a Greek
word. Here U+0130 stays and every sigma is U+03C3; for all else both are equal. csrc/data/needles.cpp has the
compiled form, this file the table that it reads and the Python form; the tests hold both equal.
"""

from __future__ import annotations

import ctypes
import re
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.native import load_native

Hashes = NDArray[np.uint64]

_WORD = re.compile(r"\w+")
_FNV_OFFSET, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3
_BASE, _MIX = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
_64_BITS = 0xFFFFFFFFFFFFFFFF


class Words(NamedTuple):
    """The words of a text in order: hashes, and where each begins and ends (bytes of UTF-8)."""

    hashes: Hashes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


def words_of(text: str) -> Words:
    """The words of a text."""
    native, _ = load_native()
    data = text.encode()
    if native is None:
        return _words_in_python(text)
    room = (len(data) + 1) // 2
    words = Words(np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64))
    native.msnow_lower_words.restype = ctypes.c_int64
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (lower_table(), *words)]
    count = native.msnow_lower_words(data, ctypes.c_int64(len(data)), *pointers)
    return Words(words.hashes[:count], words.starts[:count], words.ends[:count])


def _words_in_python(text: str) -> Words:
    matches = list(_WORD.finditer(text))
    spans = np.array([match.span() for match in matches], np.int64).reshape(-1, 2)
    if not text.isascii():  # from characters to bytes
        sizes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        widths = 1 + (sizes >= 0x80).astype(np.int64) + (sizes >= 0x800) + (sizes >= 0x10000)
        spans = np.concatenate(([0], np.cumsum(widths)))[spans]
    return Words(np.fromiter((_hash(match.group()) for match in matches), np.uint64, len(matches)), spans[:, 0].copy(), spans[:, 1].copy())


def lower(word: str) -> str:
    """A word in lower case, each character on its own."""
    if word.isascii():
        return word.lower()
    return "".join(small if len(small := character.lower()) == 1 else character for character in word)


def run_hashes(words: Hashes, length: int, starts: NDArray[np.int64] | None = None) -> Hashes:
    """The hashes of the runs of `length` words that begin at `starts` (None: at every word with enough after it)."""
    places = np.arange(max(0, len(words) - length + 1)) if starts is None else starts
    hashes = np.zeros(len(places), np.uint64)
    for k in range(length):
        hashes = hashes * np.uint64(_BASE) + words[places + k]
    hashes = (hashes ^ (hashes >> np.uint64(32))) * np.uint64(_MIX)
    return hashes ^ (hashes >> np.uint64(29))


@lru_cache(1 << 16)
def _hash(word: str) -> int:
    hash = _FNV_OFFSET
    for character in lower(word):
        hash = (hash ^ ord(character)) * _FNV_PRIME & _64_BITS
    hash = (hash ^ (hash >> 32)) * _MIX & _64_BITS
    return hash ^ (hash >> 29)


@cache
def lower_table() -> NDArray[np.uint32]:
    """For each code point its lower case, or 0 where it belongs to no word: uint32[0x110000] (0.3 s once a process)."""
    return np.fromiter((ord(lower(chr(code))) if _WORD.match(chr(code)) else 0 for code in range(0x110000)), np.uint32, 0x110000)
