"""The layout of an .idx, little-endian (megatron-core 0.16, core/datasets/indexed_dataset.py).

    9 bytes   magic "MMIDIDX\\0\\0"
    u64       version, 1
    u8        code of the tokens' dtype
    u64 n     sequences
    u64 m     entries of the document index: documents + 1
    int32[n]  length of each sequence, in tokens
    int64[n]  where each sequence starts in the .bin, in bytes
    int64[m]  first sequence of each document, then n

The .bin is the tokens and nothing else.
"""

from __future__ import annotations

import struct

import numpy as np

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
HEADER = struct.Struct("<9sQBQQ")  # magic, version, code, n, m
DTYPES: dict[int, type[np.integer]] = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}
MAX_SEQUENCE = 2**31 - 1  # tokens; the lengths are int32


def token_dtype(vocab_size: int) -> np.dtype[np.integer]:
    """uint16 where the ids fit, else int32; the limit is megatron-core's (DType.optimal_dtype), so that the bytes are the same."""
    return np.dtype(np.uint16 if vocab_size < 65_500 else np.int32)
