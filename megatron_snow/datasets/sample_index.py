"""The samples of one dataset in one pass, or of several passes shuffled together: which tokens make up the k-th.

Concatenated (Megatron's GPTDataset): the sequences in a random order end to end; samples of seq_length + 1
tokens cut from that, each overlapping the next by one token, so that every token but the first is a target
once; a tail shorter than a sample is dropped. Stored is where each sample begins. Best fit: whole pieces
(`packing`). The samples stand in a random order of their own, which is computed and not stored.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.checksums import value_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.native import load_native
from megatron_snow.datasets.concatenation import concatenate
from megatron_snow.datasets.index_cache import SUFFIX, VERSION, Index, content_digest, default_folders, open_index
from megatron_snow.datasets.index_format import DTYPES
from megatron_snow.datasets.indexed import IndexedDataset
from megatron_snow.datasets.order import NativeSequenceOrder, SequenceOrder, Span, Subset, derive_key
from megatron_snow.datasets.packing import pack_best_fit
from megatron_snow.datasets.permutation import NativePermutation, Numbers, Permutation, pointer

_CODES = {np.dtype(dtype): code for code, dtype in DTYPES.items()}


class SampleIndex:
    """The samples of a dataset. `tokens`: of what they are made; `path`: the file; `built`: by this call, not found in the cache."""

    @classmethod
    def open(
        cls,
        data: IndexedDataset,
        *,
        seq_length: int,
        key: int,
        passes: int = 1,
        packing: Literal["concatenate", "best_fit"] = "concatenate",
        documents: Subset | None = None,
        cache: Path | None = None,
    ) -> SampleIndex:
        """From the cache, or built and put there.

        `key`: 64 bits, another for each pass; `passes` > 1: so many passes shuffled together (Megatron's way);
        `documents`: of a part of the sequences; `cache`: the folder, by default `index` beside the dataset.
        """
        sequences = SequenceOrder(len(data), derive_key("sequences", key), passes, documents)
        subset = [documents.count, documents.key] if documents else None
        settings = [VERSION, content_digest(data.sequence_lengths.view(np.uint8)).hex(), seq_length, key, passes, packing, subset]
        make = concatenate if packing == "concatenate" else pack_best_fit
        index = open_index(
            default_folders(data.prefix, cache),
            f"{data.prefix.name}.{value_digest(settings)}{SUFFIX}",
            lambda: make(data.sequence_lengths, sequences, seq_length),
        )
        again = partial(cls.open, data, seq_length=seq_length, key=key, passes=passes, packing=packing, documents=documents, cache=cache)
        return cls(data, sequences, index, seq_length, key, again)

    def __init__(
        self, data: IndexedDataset, sequences: SequenceOrder, index: Index, seq_length: int, key: int, again: Callable[[], SampleIndex]
    ) -> None:
        self.seq_length, self.tokens, self.path, self.built = seq_length, index.tokens, index.path, index.built
        self._data, self.sequences, self.rows, self.firsts, self._again = data, sequences, index.rows, index.firsts, again
        self.order = Permutation(len(index.rows) if index.firsts is None else len(index.firsts) - 1, derive_key("samples", key))
        self._native = _Native(
            self.order.native, sequences.native, pointer(data.sequence_lengths), pointer(data.sequence_pointers), len(data),
            pointer(data.tokens), data.num_tokens, data.dtype.itemsize, _CODES[data.dtype], pointer(self.rows),
            None if index.firsts is None else pointer(index.firsts), len(self.rows), self.rows.itemsize == 8, seq_length + 1,
        )  # fmt: skip

    def __len__(self) -> int:
        return self.order.count

    @property
    def padding_share(self) -> float:
        """Part of the samples' places that hold no token, from 0 to 1; 0 where they are not packed."""
        return 0.0 if self.firsts is None or not len(self) else 1 - self.tokens / (len(self) * (self.seq_length + 1))

    def spans(self, k: int) -> list[Span]:
        """Where in the .bin the tokens of sample k lie: seq_length + 1 of them, or fewer if packed. IndexError outside of range(len)."""
        self._check([k])
        native, _ = load_native()
        if native is None:
            return list(self._spans(k))
        found = np.empty((2, self.seq_length + 1), np.int64)
        native.msnow_sample_spans.restype = ctypes.c_int64
        count = native.msnow_sample_spans(ctypes.byref(self._native), ctypes.c_int64(k), pointer(found[0]), pointer(found[1]))
        if count < 0:
            raise self._mismatch()
        return [Span(first, size) for first, size in found[:, :count].T.tolist()]

    def read(self, k: int, out: NDArray[np.int64]) -> int:
        """Put the tokens of sample k into out[seq_length + 1]; how many there are (fewer only if packed; the rest stays as it was)."""
        return int(self.read_rows([k], out[None])[0])

    def read_rows(self, numbers: Sequence[int], out: NDArray[np.int64]) -> Numbers:
        """Put samples into the rows of out[n, seq_length + 1]; how many tokens each has, int64[n]."""
        self._check(numbers)
        filled = np.zeros(len(numbers), np.int64)
        assert out.shape == (len(numbers), self.seq_length + 1), out.shape
        assert out.dtype == np.int64, out.dtype
        assert out.flags.c_contiguous
        native, _ = load_native()
        self._data.check_size()
        if native is None:
            for row, k in enumerate(numbers):
                for span in self._spans(k):
                    out[row, filled[row] : filled[row] + span.count] = self._data.read(span.first_token, span.count)
                    filled[row] += span.count
            return filled
        ks = np.array(numbers, np.int64)
        native.msnow_read_samples.restype = ctypes.c_int64
        done = native.msnow_read_samples(ctypes.byref(self._native), pointer(ks), ctypes.c_int64(len(ks)), pointer(out), pointer(filled))
        if done < len(ks):
            raise self._mismatch()
        return filled

    def segments(self, numbers: Sequence[int], starts: NDArray[np.int64], out: NDArray[np.int32]) -> None:
        """The number of each token's document within its sample, from 0, -1 where there is no token: out[n, seq_length + 1].

        A document begins with each piece of a sample and at each of `starts` (ascending, in tokens of the .bin).
        """
        self._check(numbers)
        assert out.shape == (len(numbers), self.seq_length + 1), out.shape
        assert (out.dtype, starts.dtype) == (np.int32, np.int64), (out.dtype, starts.dtype)
        assert out.flags.c_contiguous
        assert starts.flags.c_contiguous
        native, _ = load_native()
        if native is None:
            for row, k in enumerate(numbers):
                out[row] = self._segments(k, starts)
            return
        ks = np.array(numbers, np.int64)
        native.msnow_sample_segments.restype = ctypes.c_int64
        done = native.msnow_sample_segments(
            ctypes.byref(self._native), pointer(ks), ctypes.c_int64(len(ks)), pointer(starts), ctypes.c_int64(len(starts)), pointer(out)
        )
        if done < len(ks):
            raise self._mismatch()

    def _segments(self, k: int, starts: NDArray[np.int64]) -> NDArray[np.int32]:
        begins, filled = np.zeros(self.seq_length + 1, np.int32), 0
        for span in self._spans(k):
            begins[filled] = 1
            inside = starts[slice(*np.searchsorted(starts, (span.first_token, span.first_token + span.count)))]
            begins[inside - span.first_token + filled] = 1
            filled += span.count
        segments = np.cumsum(begins, dtype=np.int32) - 1
        segments[filled:] = -1
        return segments

    def _spans(self, k: int) -> Iterator[Span]:
        """In Python, where csrc/data is not built."""
        number, missing = self.order(k), self.seq_length + 1
        for sequence, offset in self._pieces(number):
            if sequence >= len(self._data) or offset > self._data.sequence_lengths[sequence]:
                raise self._mismatch()
            count = min(missing, int(self._data.sequence_lengths[sequence]) - offset)
            if count:
                yield Span(int(self._data.sequence_pointers[sequence]) // self._data.dtype.itemsize + offset, count)
            missing -= count
            if not missing:
                return
        if self.firsts is None:
            raise self._mismatch()

    def _pieces(self, number: int) -> Iterator[tuple[int, int]]:
        """(sequence, offset) of the pieces of a stored sample; of a concatenated one also of those after it."""
        if self.firsts is not None:
            yield from self.rows[self.firsts[number] : self.firsts[number + 1]].tolist()
            return
        place, offset = self.rows[number].tolist()
        for following in range(place, len(self.sequences)):
            yield self.sequences(following), offset if following == place else 0

    def _check(self, numbers: Sequence[int]) -> None:
        for k in (min(numbers), max(numbers)) if len(numbers) else ():
            if not 0 <= k < len(self):
                raise IndexError(f"{self.path}: sample {k} of {len(self)}")

    def _mismatch(self) -> UserError:
        return UserError(f"{self.path}: does not fit {self._data.prefix}.idx; delete it and run the same command again")

    def __reduce__(self) -> tuple[Callable[[], SampleIndex], tuple[()]]:
        return self._again, ()  # a worker process maps the files itself


class _Native(ctypes.Structure):
    """struct Samples of csrc/data/samples_read.cpp."""

    _fields_ = [
        ("order", NativePermutation),
        ("sequences", NativeSequenceOrder),
        ("lengths", ctypes.c_void_p),
        ("pointers", ctypes.c_void_p),
        ("num_sequences", ctypes.c_int64),
        ("tokens", ctypes.c_void_p),
        ("num_tokens", ctypes.c_int64),
        ("token_bytes", ctypes.c_int64),
        ("token_code", ctypes.c_int64),
        ("rows", ctypes.c_void_p),
        ("firsts", ctypes.c_void_p),
        ("num_rows", ctypes.c_int64),
        ("wide", ctypes.c_int64),
        ("length", ctypes.c_int64),
    ]
