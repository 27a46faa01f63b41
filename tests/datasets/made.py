"""Datasets for tests of the order of samples: tokens say where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from megatron_snow.common.files import beside
from megatron_snow.datasets import IndexedDataset, concatenation, packing, permutation, sample_index
from megatron_snow.datasets.index_format import DTYPES, HEADER, MAGIC, VERSION


def written(prefix: Path, lengths: Sequence[int], code: int = 8) -> IndexedDataset:
    """Token i of the .bin is i mod 30,000; sequences may be empty, as in files of others."""
    dtype = np.dtype(DTYPES[code])
    sizes = np.array(lengths, np.int32)
    starts = (np.cumsum(sizes, dtype=np.int64) - sizes) * dtype.itemsize
    header = HEADER.pack(MAGIC, VERSION, code, len(sizes), len(sizes) + 1)
    marks = np.arange(len(sizes) + 1, dtype=np.int64)
    beside(prefix, ".bin").write_bytes((np.arange(sizes.sum()) % 30_000).astype(dtype).tobytes())
    beside(prefix, ".idx").write_bytes(header + sizes.tobytes() + starts.tobytes() + marks.tobytes())
    return IndexedDataset(prefix)


def switch_off_native(patch: pytest.MonkeyPatch) -> None:
    for module in (permutation, concatenation, packing, sample_index):
        patch.setattr(module, "load_native", lambda: (None, "switched off"))
