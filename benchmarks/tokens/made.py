"""Datasets that are made up: as many documents as wanted, of lengths as those of code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.files import beside
from megatron_snow.datasets import IndexedWriter
from megatron_snow.datasets.writing import IndexArrays

_MEAN_TOKENS, _SIGMA = 670, 1.2  # about those of source files
_AT_ONCE = 1_000_000  # documents


def write_dataset(prefix: Path, documents: int) -> None:
    """Random tokens, uint16."""
    rng = np.random.default_rng(2)
    with IndexedWriter(prefix, np.uint16) as writer:
        for lengths in _lengths(documents):
            writer.append_sequences(rng.integers(0, 32_000, int(lengths.sum()), np.uint16), lengths)


def write_sparse_dataset(prefix: Path, documents: int) -> None:
    """The .idx of so many documents, and a .bin of zeros that takes no disk."""
    tokens = 0
    with IndexArrays(prefix, np.dtype(np.uint16)) as arrays:
        for lengths in _lengths(documents):
            arrays.add(lengths)
            tokens += int(lengths.sum())
        arrays.finish(beside(prefix, ".idx"))
    beside(prefix, ".bin").touch()
    os.truncate(beside(prefix, ".bin"), 2 * tokens)


def _lengths(documents: int) -> Iterator[NDArray[np.int32]]:
    rng = np.random.default_rng(1)
    for first in range(0, documents, _AT_ONCE):
        drawn = rng.lognormal(np.log(_MEAN_TOKENS) - _SIGMA**2 / 2, _SIGMA, min(_AT_ONCE, documents - first))
        yield drawn.astype(np.int32) + 1
