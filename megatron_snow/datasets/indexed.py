"""Megatron's indexed datasets: PREFIX.bin holds tokens, PREFIX.idx says where each sequence lies.

The .idx, little-endian (megatron-core 0.16, core/datasets/indexed_dataset.py):

    9 bytes   magic "MMIDIDX\\0\\0"
    u64       version, 1
    u8        code of the tokens' dtype
    u64 n     sequences
    u64 m     entries of the document index: documents + 1
    int32[n]  length of each sequence, in tokens
    int64[n]  where each sequence starts in the .bin, in bytes
    int64[m]  first sequence of each document, then n

The .bin is the tokens and nothing else. Files from others are read with the same code, so nothing
that an .idx says is believed before it was checked.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside

_MAGIC = b"MMIDIDX\x00\x00"
_VERSION = 1
_HEADER = struct.Struct("<9sQBQQ")
_DTYPES: dict[int, type[np.integer]] = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}
_MAX_SEQUENCE = 2**31 - 1  # tokens; the lengths are int32


def token_dtype(vocab_size: int) -> np.dtype[np.integer]:
    """uint16 where the ids fit, else int32; the limit is megatron-core's (DType.optimal_dtype), so that the bytes are the same."""
    return np.dtype(np.uint16 if vocab_size < 65_500 else np.int32)


class IndexedWriter:
    """Write PREFIX.bin as the tokens come and PREFIX.idx at the end; a context manager.

    Tokens go straight to the file: memory holds 12 bytes a document and nothing else.
    """

    def __init__(self, prefix: Path, dtype: npt.DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._code = next(code for code, known in _DTYPES.items() if known == self._dtype)
        self._limits = np.iinfo(self._dtype)
        self._prefix = prefix
        self._bin = open(beside(prefix, ".bin"), "wb")  # noqa: SIM115 closed by __exit__
        self._lengths = array("i")
        self._marks = array("q", [0])
        self._open_length = 0
        self.num_tokens = 0

    def append(self, tokens: Sequence[int] | np.ndarray) -> None:
        """Add tokens to the open document (one sequence); UserError for an id that the dtype cannot hold."""
        ids = np.asarray(tokens)
        if ids.size == 0:
            return
        if ids.min() < self._limits.min or ids.max() > self._limits.max:
            raise UserError(
                f"{self._prefix}.bin: token ids {ids.min()} to {ids.max()} do not fit {self._dtype}; write it with the tokenizer's own size"
            )
        if self._open_length + ids.size > _MAX_SEQUENCE:
            raise UserError(f"{self._prefix}.bin: a document of over {_MAX_SEQUENCE:,} tokens; the format's limit, cut it")
        self._bin.write(ids.astype(self._dtype, copy=False).tobytes())
        self._open_length += ids.size
        self.num_tokens += ids.size

    def end_document(self) -> None:
        """Close the open document; one without tokens has no sequence, only a mark, as Megatron writes it."""
        if self._open_length:
            self._lengths.append(self._open_length)
            self._open_length = 0
        self._marks.append(len(self._lengths))

    def __enter__(self) -> IndexedWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None and self._open_length:
            self.end_document()
        self._bin.close()
        if exception[0] is None:
            self._write_index()

    def _write_index(self) -> None:
        lengths = np.array(self._lengths, np.int32)
        ends = np.cumsum(lengths, dtype=np.int64) * self._dtype.itemsize
        with open(beside(self._prefix, ".idx"), "wb") as file:
            file.write(_HEADER.pack(_MAGIC, _VERSION, self._code, len(lengths), len(self._marks)))
            file.write(lengths.tobytes())
            file.write((ends - lengths.astype(np.int64) * self._dtype.itemsize).tobytes())
            file.write(self._marks.tobytes())


class IndexedDataset:
    """Read PREFIX.bin and PREFIX.idx through the page cache; UserError that names every lie of the .idx.

    `sequence_lengths` int32[n] and `sequence_starts` int64[n] are in tokens; `document_indices`
    int64[m] in sequences.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        index, tokens = beside(prefix, ".idx"), beside(prefix, ".bin")
        for path in (index, tokens):
            if not path.is_file():
                raise UserError(f"{path}: no such file; a dataset is a .bin and an .idx of one name, made by tools/preprocess_data.py")
        self.dtype, sequences, documents = _read_header(index)
        self.sequence_lengths = _section(index, np.dtype(np.int32), _HEADER.size, sequences)
        pointers = _section(index, np.dtype(np.int64), _HEADER.size + 4 * sequences, sequences)
        self.document_indices = _section(index, np.dtype(np.int64), _HEADER.size + 12 * sequences, documents)
        _check_layout(index, self.sequence_lengths, pointers, self.document_indices, self.dtype.itemsize, tokens.stat().st_size)
        self.sequence_starts = pointers // self.dtype.itemsize
        self.tokens = _section(tokens, self.dtype, 0, tokens.stat().st_size // self.dtype.itemsize)

    @property
    def num_tokens(self) -> int:
        """Tokens of all sequences."""
        return len(self.tokens)

    @property
    def document_ends(self) -> np.ndarray:
        """Where each document of the index ends, int64[documents] in tokens."""
        ends = np.concatenate([[0], self.sequence_starts + self.sequence_lengths])
        return ends[self.document_indices[1:]]

    def __len__(self) -> int:
        return len(self.sequence_lengths)

    def __getitem__(self, sequence: int) -> np.ndarray:
        """The tokens of a sequence, a view of the file."""
        return self.read(int(self.sequence_starts[sequence]), int(self.sequence_lengths[sequence]))

    def read(self, first_token: int, count: int) -> np.ndarray:
        """`count` tokens of the .bin from `first_token` on, a view of the file."""
        if first_token < 0 or count < 0 or first_token + count > len(self.tokens):
            raise IndexError(f"{self.prefix}: tokens {first_token} to {first_token + count} of {len(self.tokens)}")
        return self.tokens[first_token : first_token + count]


def _read_header(index: Path) -> tuple[np.dtype[np.integer], int, int]:
    size = index.stat().st_size
    with open(index, "rb") as file:
        head = file.read(_HEADER.size)
    if head[: len(_MAGIC)] != _MAGIC:
        raise UserError(
            f"{index}: not an index of Megatron (its first bytes are {head[:9]!r}); make it again with tools/preprocess_data.py"
        )
    if len(head) < _HEADER.size:
        raise UserError(f"{index}: {size} bytes, cut inside its header; make it again")
    _, version, code, sequences, documents = _HEADER.unpack(head)
    if version != _VERSION:
        raise UserError(f"{index}: version {version}, {_VERSION} is known; make it again with tools/preprocess_data.py")
    if code not in _DTYPES:
        raise UserError(f"{index}: dtype code {code} is not one of {sorted(_DTYPES)} (whole numbers); make it again")
    expected = _HEADER.size + 12 * sequences + 8 * documents
    if size == expected + sequences and sequences:
        raise UserError(f"{index}: a multimodal index (it has a mode a sequence); this reads text only")
    if size != expected:
        raise UserError(f"{index}: {size} bytes where {sequences} sequences and {documents} document marks take {expected}; make it again")
    return np.dtype(_DTYPES[code]), sequences, documents


def _section(path: Path, dtype: np.dtype[np.integer], offset: int, count: int) -> np.ndarray:
    if count == 0:  # an empty file cannot be mapped
        return np.zeros(0, dtype)
    # A plain array over the map: np.memmap's own slicing costs microseconds a read.
    return np.asarray(np.memmap(path, dtype.newbyteorder("<"), mode="r", offset=offset, shape=(count,)))


def _check_layout(index: Path, lengths: np.ndarray, pointers: np.ndarray, documents: np.ndarray, itemsize: int, bin_bytes: int) -> None:
    """The sequences lie one after the other from 0 to the end of the .bin; documents begin where sequences do."""
    remedy = "the .bin and the .idx do not belong together or one is damaged; make both again"
    if len(lengths) and lengths.min() < 0:
        raise UserError(f"{index}: sequence {int(lengths.argmin())} has the length {lengths.min()}; {remedy}")
    ends = np.cumsum(lengths, dtype=np.int64) * itemsize
    wrong = np.flatnonzero(pointers != ends - lengths.astype(np.int64) * itemsize)
    if len(wrong):
        raise UserError(f"{index}: sequence {wrong[0]} starts at byte {pointers[wrong[0]]}, not where the one before ends; {remedy}")
    total = int(ends[-1]) if len(ends) else 0
    if total != bin_bytes:
        raise UserError(f"{index}: its sequences take {total} bytes, the .bin has {bin_bytes}; {remedy}")
    if len(documents) == 0 or documents[0] != 0 or documents[-1] != len(lengths) or np.any(np.diff(documents) < 0):
        raise UserError(f"{index}: its document marks do not run from 0 to {len(lengths)} sequences; {remedy}")
