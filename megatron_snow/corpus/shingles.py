"""Word n-grams of a text as 64-bit hashes, and their MinHash signatures.

A word is a run of `\\w` (Python's, Unicode and case kept). Both forms of each function give the same
arrays: csrc/data (about 300 MB/s a core) and NumPy (about 10 MB/s) where that is not built.
"""

from __future__ import annotations

import ctypes
import re
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.native import load_native

Hashes = NDArray[np.uint64]
Signature = NDArray[np.uint32]

_WORD = re.compile(r"\w+")
_FNV_OFFSET, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3
_BASE, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)


def word_hashes(text: str) -> Hashes:
    """FNV-1a of each word, in order: uint64[words]."""
    native, _ = load_native()
    if native is None:
        return np.fromiter((_fnv(word) for word in _WORD.findall(text)), np.uint64)
    data = text.encode()
    hashes = np.empty((len(data) + 1) // 2, np.uint64)
    native.msnow_word_hashes.restype = ctypes.c_int64
    count = native.msnow_word_hashes(data, ctypes.c_int64(len(data)), _word_table(), _pointer(hashes))
    return hashes[:count]


def ngram_hashes(words: Hashes, n: int) -> Hashes:
    """Hashes of each run of n words, in order: uint64[max(0, words - n + 1)]."""
    count = max(0, len(words) - n + 1)
    native, _ = load_native()
    if native is None:
        hashes = np.zeros(count, np.uint64)
        for k in range(n):
            hashes = hashes * _BASE + words[k : k + count]
        hashes = (hashes ^ (hashes >> np.uint64(32))) * _MIX
        return hashes ^ (hashes >> np.uint64(29))
    hashes = np.empty(count, np.uint64)
    native.msnow_ngram_hashes(_pointer(words), ctypes.c_int64(len(words)), ctypes.c_int64(n), _pointer(hashes))
    return hashes


def shingles(text: str, n: int) -> Hashes:
    """The distinct n-grams of a text, sorted; of a text with fewer words the one run of all; none without a word."""
    words = word_hashes(text)
    if not len(words):
        return words
    hashes = np.sort(ngram_hashes(words, min(n, len(words))))
    return hashes[np.concatenate(([True], hashes[1:] != hashes[:-1]))]  # np.unique takes four times as long


def overlap(a: Hashes, b: Hashes) -> int:
    """How many values two sorted arrays without repeats share."""
    native, _ = load_native()
    if native is None:
        return len(np.intersect1d(a, b, assume_unique=True))
    native.msnow_overlap.restype = ctypes.c_int64
    return int(native.msnow_overlap(_pointer(a), ctypes.c_int64(len(a)), _pointer(b), ctypes.c_int64(len(b))))


def jaccard(a: Hashes, b: Hashes) -> float:
    """The true Jaccard similarity of two sets of shingles."""
    shared = overlap(a, b)
    return shared / (len(a) + len(b) - shared) if shared else 0.0


def signature(hashes: Hashes, permutations: int) -> Signature:
    """datasketch's MinHash ("affine32", its default seed) of the hashes' low 32 bits: uint32[permutations]."""
    native, _ = load_native()
    if native is None:
        from datasketch import MinHash

        sketch = MinHash(permutations, hashfunc=int, scheme="affine32", permutations=_permutations(permutations))
        sketch.update_batch((hashes & np.uint64(0xFFFFFFFF)).tolist())
        return np.asarray(sketch.hashvalues, np.uint32)
    a, b = _permutations(permutations)
    result, scratch = np.empty(permutations, np.uint32), np.empty(len(hashes), np.uint32)
    native.msnow_minhash(
        _pointer(hashes), ctypes.c_int64(len(hashes)), _pointer(a), _pointer(b),
        ctypes.c_int64(permutations), _pointer(scratch), _pointer(result),
    )  # fmt: skip
    return result


@cache
def _permutations(count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    from datasketch import MinHash  # it imports scipy, a second that other stages need not wait

    a, b = MinHash(count, scheme="affine32").permutations
    return np.ascontiguousarray(a, np.uint32), np.ascontiguousarray(b, np.uint32)


@cache
def _word_table() -> bytes:
    """For each code point whether `\\w` matches it (1.1 MB, 0.1 s): the regular expression engine's own rule."""
    return bytes(chr(code).isalnum() or code == ord("_") for code in range(0x110000))


@cache
def _fnv(word: str) -> int:
    hash = _FNV_OFFSET
    for byte in word.encode():
        hash = (hash ^ byte) * _FNV_PRIME & 0xFFFFFFFFFFFFFFFF
    return hash


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
