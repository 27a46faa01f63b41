"""Word n-grams of texts as 64-bit hashes, their sets, and the keys of their MinHash bands.

A word is a run of `\\w` (Python's, Unicode and case kept). Both forms of each function give the same
arrays: csrc/data (text to keys about 500 MB/s a core) and Python (about 5 MB/s) where that is not built.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.native import load_native
from megatron_snow.pipeline import Texts

Hashes = NDArray[np.uint64]
Signature = NDArray[np.uint32]

_WORD = re.compile(r"\w+")
_SEED, _WORD_MIX = 0xCBF29CE484222325, 0x9FB21C651E98DF25
_BASE, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_ALL = 0xFFFFFFFFFFFFFFFF


def word_hashes(text: str) -> Hashes:
    """The hash of each word, in order: uint64[words]."""
    native, _ = load_native()
    if native is None:
        return np.fromiter((_hash_word(word) for word in _WORD.findall(text)), np.uint64)
    data = text.encode()
    hashes = np.empty((len(data) + 1) // 2, np.uint64)
    native.msnow_word_hashes.restype = ctypes.c_int64
    count = native.msnow_word_hashes(data, ctypes.c_int64(len(data)), _word_table(), pointer(hashes))
    return hashes[:count]


def ngram_hashes(words: Hashes, n: int) -> Hashes:
    """Hashes of each run of n words, in order: uint64[max(0, words - n + 1)]."""
    count = max(0, len(words) - n + 1)
    native, _ = load_native()
    if native is None or not count:
        hashes = np.zeros(count, np.uint64)
        for k in range(n if count else 0):
            hashes = hashes * _BASE + words[k : k + count]
        hashes = (hashes ^ (hashes >> np.uint64(32))) * _MIX
        return hashes ^ (hashes >> np.uint64(29))
    hashes = np.empty(count, np.uint64)
    native.msnow_ngram_hashes(pointer(words), ctypes.c_int64(len(words)), ctypes.c_int64(n), pointer(hashes))
    return hashes


def shingles(text: str, n: int) -> Hashes:
    """The distinct n-grams of a text, sorted; of a text with fewer words the one run of all; none without a word."""
    words = word_hashes(text)
    return np.unique(ngram_hashes(words, min(n, len(words)))) if len(words) else words


def shingle_sets(texts: Texts, chosen: NDArray[np.int64], n: int) -> tuple[Hashes, NDArray[np.int64]]:
    """`shingles` of the chosen texts one after the other, and where each ends: uint64[ends[-1]], int64[chosen]."""
    native, _ = load_native()
    if native is None:
        sets = [shingles(text, n) for text in _strings(texts, chosen)]
        return np.concatenate([np.empty(0, np.uint64), *sets]), np.cumsum([len(each) for each in sets], dtype=np.int64)
    sizes = texts.offsets[chosen + 1] - texts.offsets[chosen]
    hashes, ends = np.empty(int(((sizes + 1) // 2).sum()), np.uint64), np.empty(len(chosen), np.int64)
    native.msnow_shingle_sets(
        pointer(texts.data), pointer(texts.offsets), pointer(chosen), ctypes.c_int64(len(chosen)), ctypes.c_int64(n),
        _word_table(), pointer(hashes), pointer(ends),
    )  # fmt: skip
    return hashes[: ends[-1] if len(ends) else 0], ends


def overlap(a: Hashes, b: Hashes) -> int:
    """How many values two sorted arrays without repeats share."""
    native, _ = load_native()
    if native is None:
        return len(np.intersect1d(a, b, assume_unique=True))
    native.msnow_overlap.restype = ctypes.c_int64
    return int(native.msnow_overlap(pointer(a), ctypes.c_int64(len(a)), pointer(b), ctypes.c_int64(len(b))))


def jaccard(a: Hashes, b: Hashes) -> float:
    """The true Jaccard similarity of two sets of shingles."""
    shared = overlap(a, b)
    return shared / (len(a) + len(b) - shared) if shared else 0.0


def signature(hashes: Hashes, permutations: int) -> Signature:
    """datasketch's MinHash ("affine32", its default seed) of the hashes' low 32 bits: uint32[permutations]."""
    a, b = _permutations(permutations)
    result = np.full(permutations, 0xFFFFFFFF, np.uint32)
    native, _ = load_native()
    if native is None:
        for part in np.array_split(_mixed(hashes.astype(np.uint32)), len(hashes) // 4096 + 1):
            result = np.minimum(result, (a * part[:, None] + b).min(0, initial=0xFFFFFFFF))
        return result
    scratch = np.empty(len(hashes), np.uint32)
    native.msnow_minhash(
        pointer(hashes), ctypes.c_int64(len(hashes)), pointer(a), pointer(b),
        ctypes.c_int64(permutations), pointer(scratch), pointer(result),
    )  # fmt: skip
    return result


def _mixed(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """MurmurHash3's 32-bit finalizer."""
    hashes = (hashes ^ hashes >> np.uint32(16)) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ hashes >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    return hashes ^ hashes >> np.uint32(16)


def band_keys(texts: Texts, n: int, bands: int, rows: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The key of each band of each text's signature, and the n-grams of each text, with repeats: uint64[texts, bands], int64[texts].

    Texts that agree in all rows of a band have its key in common. The keys of a text without a word mean nothing.
    """
    runs, keys = np.zeros(len(texts), np.int64), np.zeros((len(texts), bands), np.uint64)
    native, _ = load_native()
    if native is None:
        for number, text in enumerate(_strings(texts, np.arange(len(texts)))):
            words = word_hashes(text)
            if len(words):
                hashes = ngram_hashes(words, min(n, len(words)))
                runs[number], keys[number] = len(hashes), _keys_of(signature(hashes, bands * rows), bands)
        return keys, runs
    a, b = _permutations(bands * rows)
    native.msnow_band_keys(
        pointer(texts.data), pointer(texts.offsets), ctypes.c_int64(len(texts)), ctypes.c_int64(n), _word_table(),
        pointer(a), pointer(b), ctypes.c_int64(bands), ctypes.c_int64(rows), pointer(keys), pointer(runs),
    )  # fmt: skip
    return keys, runs


def _keys_of(signed: Signature, bands: int) -> Hashes:
    keys = np.arange(1, bands + 1, dtype=np.uint64)
    for row in signed.reshape(bands, -1).T:
        keys = keys * _BASE + row
    keys = (keys ^ (keys >> np.uint64(32))) * _MIX
    keys = (keys ^ (keys >> np.uint64(29))) * _MIX
    return keys ^ (keys >> np.uint64(32))


def _strings(texts: Texts, chosen: NDArray[np.int64]) -> Iterator[str]:
    for number in chosen.tolist():
        yield texts.data[texts.offsets[number] : texts.offsets[number + 1]].tobytes().decode()


@cache
def _permutations(count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """h -> a * h + b (mod 2^32), a odd: datasketch's, drawn as it draws them (importing it takes scipy and 0.6 s a worker)."""
    draw = np.random.RandomState(1)
    a = draw.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return a, draw.randint(0, 1 << 32, count, dtype=np.uint32)


@cache
def _word_table() -> bytes:
    """For each code point whether `\\w` matches it (1.1 MB): the regular expression engine's own answer."""
    table = bytearray(0x110000)
    everything = np.arange(len(table), dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    for match in _WORD.finditer(everything):
        table[match.start() : match.end()] = b"\1" * (match.end() - match.start())
    return bytes(table)


@cache
def _hash_word(word: str) -> int:
    data, hash = word.encode(), _SEED
    for start in range(0, len(data), 8):
        hash = (hash ^ int.from_bytes(data[start : start + 8], "little")) * _WORD_MIX & _ALL
        hash ^= hash >> 32
    return hash


def pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    """An array's data as C takes it."""
    return ctypes.c_void_p(array.ctypes.data)
