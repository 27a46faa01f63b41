"""Read Megatron's indexed datasets: PREFIX.bin holds tokens, PREFIX.idx says where each sequence lies (`index_format`).

Files from others are read with the same code, so nothing that an .idx says is believed before it was
checked (`index_checks`), and where a seal lies beside it (`seals`) it must be the very .idx that was sealed.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

import numpy as np

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.datasets.index_checks import check_layout, read_header
from megatron_snow.datasets.index_format import HEADER
from megatron_snow.datasets.seals import REMEDY, Seal, check_sizes, check_whole, describe_blocks, differing_blocks, read_seal
from megatron_snow.datasets.seals import SUFFIX as SEAL

_CHUNK = 1 << 18  # entries of an array computed at a time
_SETTLED_NS = 2_000_000_000  # a file changed later than so long ago may change again without another time of change
_checked: set[tuple[object, ...]] = set()  # what this process has checked: a phase opens what the checks before step 1 opened


class IndexedDataset:
    """Read PREFIX.bin and PREFIX.idx through the page cache; UserError that names every lie of the .idx.

    `sequence_lengths` int32[n] is in tokens, `sequence_pointers` int64[n] in bytes of the .bin,
    `document_indices` int64[m] in sequences; `tokens` is the whole .bin. All are views of the files.
    Opening reads the .idx once (its structure, and its checksum where it has a seal), of the .bin the
    size alone; `verify` reads all.

    A .bin that is cut while it is open would end the process (SIGBUS): every `read` asks for its size
    (0.3 microseconds) and raises a UserError instead. Who reads `tokens` calls `check_size` first, once a batch.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self._index_path, self._bin_path = beside(prefix, ".idx"), beside(prefix, ".bin")
        for path in (self._index_path, self._bin_path):
            if not path.is_file():
                hint = "; name it without its ending" if prefix.suffix in (".bin", ".idx") else ""
                raise UserError(
                    f"{path}: no such file; a dataset is a .bin and an .idx of one name, made by tools/preprocess_data.py{hint}"
                )
        index, self._map = _mapped(self._index_path), _mapped(self._bin_path)
        content = np.frombuffer(index, np.uint8) if index else np.zeros(0, np.uint8)
        self.dtype, sequences, marks = read_header(self._index_path, content[: HEADER.size].tobytes(), len(content))
        self._bin_bytes = len(self._map) if self._map else 0
        self.sequence_lengths = _section(content, "<i4", HEADER.size, sequences)
        self.sequence_pointers = _section(content, "<i8", HEADER.size + 4 * sequences, sequences)
        self.document_indices = _section(content, "<i8", HEADER.size + 12 * sequences, marks)
        self._check(content)
        self.tokens = np.frombuffer(self._map, self.dtype.newbyteorder("<")) if self._map else np.zeros(0, self.dtype)
        self.num_tokens = len(self.tokens)

    def _check(self, content: np.ndarray) -> None:
        known = (self.prefix.absolute(), self._bin_bytes, *_identity(self._index_path), *_identity(beside(self.prefix, SEAL)))
        if known in _checked:
            return
        if (seal := read_seal(self.prefix)) is not None:
            self._check_seal(seal, content)
        arrays = self.sequence_lengths, self.sequence_pointers, self.document_indices
        check_layout(self._index_path, *arrays, self.dtype.itemsize, self._bin_bytes)
        if None not in known:
            _checked.add(known)

    def _check_seal(self, seal: Seal, content: np.ndarray) -> None:
        check_sizes(self.prefix, seal)
        if bad := differing_blocks(content, seal[".idx"], workers=min(4, os.cpu_count() or 1)):
            raise UserError(f"{self._index_path}: {describe_blocks(bad, len(content))} not what was sealed; {REMEDY}")

    @property
    def document_ends(self) -> np.ndarray:
        """Where each document of the index ends, int64[documents] in tokens; made at each call."""
        marks = self.document_indices[1:]
        inside = int(np.searchsorted(marks, len(self)))  # the others end with the last sequence
        ends = np.empty(len(marks), np.int64)
        ends[inside:] = self.num_tokens
        shift = self.dtype.itemsize.bit_length() - 1  # a division, six times as fast
        for first in range(0, inside, _CHUNK):
            part = slice(first, min(first + _CHUNK, inside))
            np.right_shift(self.sequence_pointers[marks[part]], shift, out=ends[part])
        return ends

    def __len__(self) -> int:
        return len(self.sequence_lengths)

    def __getitem__(self, sequence: int) -> np.ndarray:
        """The tokens of a sequence, a view of the file."""
        return self.read(int(self.sequence_pointers[sequence]) // self.dtype.itemsize, int(self.sequence_lengths[sequence]))

    def read(self, first_token: int, count: int) -> np.ndarray:
        """`count` tokens of the .bin from `first_token` on, a view of the file."""
        if first_token < 0 or count < 0 or first_token + count > self.num_tokens:
            raise IndexError(f"{self.prefix}: tokens {first_token} to {first_token + count} of {self.num_tokens}")
        self.check_size()
        return self.tokens[first_token : first_token + count]

    def check_size(self) -> None:
        """UserError where the .bin was cut since it was opened."""
        if self._map and self._map.size() < self._bin_bytes:
            raise UserError(f"{self._bin_path}: cut from {self._bin_bytes} to {self._map.size()} bytes while it was read; {REMEDY}")

    def verify(self, workers: int = 1) -> bool:
        """Check every byte against the seal, on `workers` threads; UserError for damage, False where there is no seal."""
        seal = read_seal(self.prefix)
        if seal is not None:
            check_sizes(self.prefix, seal)
            for suffix in seal:
                check_whole(self.prefix, suffix, seal, workers)
        return seal is not None

    def __reduce__(self) -> tuple[type[IndexedDataset], tuple[Path]]:
        return IndexedDataset, (self.prefix,)  # a worker process maps the files itself


def _mapped(path: Path) -> mmap.mmap | None:
    """A file in memory, None for an empty one, which cannot be mapped. The descriptor stays open: `size` asks the file, not the name."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else None


def _section(content: np.ndarray, dtype: str, offset: int, count: int) -> np.ndarray:
    # A plain array over the map: np.memmap's own slicing costs microseconds a read.
    return np.frombuffer(content.data, dtype, count, offset) if count else np.zeros(0, dtype)


def _identity(path: Path) -> tuple[object, ...]:
    """What changes when a file does; (None,) where that is not sure."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return ("missing",)
    settled = time.time_ns() - now.st_mtime_ns > _SETTLED_NS
    return (now.st_size, now.st_mtime_ns, now.st_ino, now.st_dev) if settled else (None,)
