"""Read Megatron's indexed datasets: PREFIX.bin holds tokens, PREFIX.idx says where each sequence lies (`index_format`).

Files from others are read with the same code, so nothing that an .idx says is believed before it was checked.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.datasets.index_format import DTYPES, HEADER, MAGIC, VERSION


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
        self.sequence_lengths = _section(index, np.dtype(np.int32), HEADER.size, sequences)
        pointers = _section(index, np.dtype(np.int64), HEADER.size + 4 * sequences, sequences)
        self.document_indices = _section(index, np.dtype(np.int64), HEADER.size + 12 * sequences, documents)
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
        head = file.read(HEADER.size)
    if head[: len(MAGIC)] != MAGIC:
        raise UserError(
            f"{index}: not an index of Megatron (its first bytes are {head[:9]!r}); make it again with tools/preprocess_data.py"
        )
    if len(head) < HEADER.size:
        raise UserError(f"{index}: {size} bytes, cut inside its header; make it again")
    _, version, code, sequences, documents = HEADER.unpack(head)
    if version != VERSION:
        raise UserError(f"{index}: version {version}, {VERSION} is known; make it again with tools/preprocess_data.py")
    if code not in DTYPES:
        raise UserError(f"{index}: dtype code {code} is not one of {sorted(DTYPES)} (whole numbers); make it again")
    expected = HEADER.size + 12 * sequences + 8 * documents
    if size == expected + sequences and sequences:
        raise UserError(f"{index}: a multimodal index (it has a mode a sequence); this reads text only")
    if size != expected:
        raise UserError(f"{index}: {size} bytes where {sequences} sequences and {documents} document marks take {expected}; make it again")
    return np.dtype(DTYPES[code]), sequences, documents


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
