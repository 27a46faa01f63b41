"""Write Megatron's indexed datasets in memory that does not grow with them, and join several into one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import PARTIAL, beside, commit
from megatron_snow.datasets.index_format import DTYPES, HEADER, MAGIC, MAX_SEQUENCE, VERSION

_CHUNK = 1 << 20  # entries of an index array in memory at a time: 8 MB


class IndexedWriter:
    """Write PREFIX.bin as the tokens come and PREFIX.idx at the end; a context manager.

    Tokens go straight to the file, lengths and marks to nameless temporary files beside it: 12 bytes a document on
    disk until the end, none in memory. After an exception there is no .idx.
    """

    def __init__(self, prefix: Path, dtype: npt.DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._limits = np.iinfo(self._dtype)
        self._prefix = prefix
        with ExitStack() as files:
            self._bin = files.enter_context(open(beside(prefix, ".bin"), "wb", buffering=1 << 20))
            self._index = files.enter_context(IndexArrays(prefix, self._dtype))
            self._files = files.pop_all()
        self._open_length = 0
        self.num_tokens = 0

    def append(self, tokens: Sequence[int] | np.ndarray) -> None:
        """Add tokens to the open document (one sequence); UserError for an id that the dtype cannot hold."""
        ids = np.asarray(tokens)
        self._check_length(self._open_length + ids.size)
        self._write(ids)
        self._open_length += ids.size

    def end_document(self) -> None:
        """Close the open document; one without tokens has no sequence, only a mark, as Megatron writes it."""
        self._index.add(np.array([self._open_length]))
        self._open_length = 0

    def append_sequences(self, ids: np.ndarray, lengths: np.ndarray, documents: np.ndarray | None = None) -> None:
        """Add whole documents: `ids` of all of them, one after the other, and the `lengths` of their sequences (int[n], tokens).

        A document is a sequence, or documents[i] sequences of them (int[documents], sum n). A length of 0 leaves no sequence.
        """
        assert not self._open_length, "whole documents come between those that are appended by piece"
        assert int(lengths.sum()) == ids.size, f"{ids.size} ids for sequences of {lengths.sum()}"
        self._check_length(int(lengths.max(initial=0)))
        self._write(ids)
        self._index.add(lengths, documents)

    def _check_length(self, length: int) -> None:
        if length > MAX_SEQUENCE:
            raise UserError(f"{self._prefix}.bin: a document of over {MAX_SEQUENCE:,} tokens; the format's limit, cut it")

    def _write(self, ids: np.ndarray) -> None:
        if ids.size == 0:
            return
        if ids.dtype != self._dtype and (ids.min() < self._limits.min or ids.max() > self._limits.max):
            raise UserError(
                f"{self._prefix}.bin: token ids {ids.min()} to {ids.max()} do not fit {self._dtype}; write it with the tokenizer's own size"
            )
        self._bin.write(np.ascontiguousarray(ids, self._dtype.newbyteorder("<")).data)
        self.num_tokens += ids.size

    def __enter__(self) -> IndexedWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._files:
            if exception[0] is None:
                if self._open_length:
                    self.end_document()
                self._index.finish(beside(self._prefix, ".idx"))


class IndexArrays:
    """The arrays of an .idx on their way: lengths and marks in temporary files, the .idx from them at the end."""

    def __init__(self, prefix: Path, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        # Without a name (O_TMPFILE): a killed process leaves nothing behind.
        self._lengths, self._marks = (tempfile.TemporaryFile(dir=prefix.parent) for _ in range(2))  # noqa: SIM115 closed by __exit__
        self._sequences, self._documents = 0, 0

    def add(self, lengths: np.ndarray, documents: np.ndarray | None = None) -> None:
        """Lengths of sequences, of which each is a document, or documents[i] of them."""
        filled = lengths > 0
        ends = np.cumsum(filled, dtype="<i8")
        if documents is not None:
            ends = np.concatenate([[0], ends])[np.cumsum(documents)]
        self._marks.write((ends + self._sequences).astype("<i8", copy=False).data)
        self._lengths.write(lengths[filled].astype("<i4").data)
        self._sequences += int(np.count_nonzero(filled))
        self._documents += len(ends)

    def add_index(self, path: Path) -> None:
        """All that the .idx of another dataset says."""
        head = _head(path)
        if head.dtype != self._dtype:
            raise UserError(f"{path}: its tokens are {head.dtype}, not {self._dtype}; write all parts with one tokenizer")
        with open(path, "rb") as file:
            for lengths in _chunks(file, HEADER.size, "<i4", head.sequences):
                self._lengths.write(lengths.data)
            for ends in _chunks(file, HEADER.size + 12 * head.sequences + 8, "<i8", head.documents):
                self._marks.write((ends + self._sequences).data)
        self._sequences += head.sequences
        self._documents += head.documents

    def finish(self, path: Path) -> None:
        """Write the .idx."""
        code = next(code for code, known in DTYPES.items() if known == self._dtype)
        with open(path, "wb") as index:
            index.write(HEADER.pack(MAGIC, VERSION, code, self._sequences, self._documents + 1))
            self._lengths.seek(0)
            shutil.copyfileobj(self._lengths, index, 8 * _CHUNK)
            start = 0
            for lengths in _chunks(self._lengths, 0, "<i4", self._sequences):
                ends = start + np.cumsum(lengths, dtype="<i8")
                index.write(((ends - lengths) * self._dtype.itemsize).data)
                start = int(ends[-1])
            index.write(bytes(8))  # the first document's first sequence
            self._marks.seek(0)
            shutil.copyfileobj(self._marks, index, 8 * _CHUNK)

    def __enter__(self) -> IndexArrays:
        return self

    def __exit__(self, *exception: object) -> None:
        self._lengths.close()
        self._marks.close()


def join_datasets(parts: Sequence[Path], final: Path) -> None:
    """One dataset of several, in their order: FINAL.bin and .idx in place of those of `parts`; all are prefixes of one file system.

    The first .bin takes the final name, the others are appended by the kernel and deleted one by one: the disk holds the
    output and one part. Killed at any moment and called again with the same arguments it ends in the same bytes; last of
    all the parts' .idx go. UserError where a part is missing or has another dtype.
    """
    index = beside(final, ".idx")
    if not index.is_file() or any(beside(part, ".bin").exists() for part in parts):
        index.unlink(missing_ok=True)  # never an old index beside new tokens
        heads = [_head(beside(part, ".idx")) for part in parts]
        _join_tokens(parts, [head.bin_bytes for head in heads], beside(final, ".bin"))
        with IndexArrays(final, heads[0].dtype) as arrays:
            for part in parts:
                arrays.add_index(beside(part, ".idx"))
            arrays.finish(beside(index, PARTIAL))
        commit(beside(index, PARTIAL), index)
    for part in parts:
        beside(part, ".idx").unlink(missing_ok=True)


def _join_tokens(parts: Sequence[Path], sizes: Sequence[int], joined: Path) -> None:
    first = beside(parts[0], ".bin")
    if first.exists():
        os.replace(first, joined)
    with open(joined, "r+b") as output:
        for number, part in enumerate(parts[1:], 1):
            tokens = beside(part, ".bin")
            if tokens.exists():  # else it was appended before a kill
                output.truncate(sum(sizes[:number]))
                _append(tokens, output)
                os.fdatasync(output.fileno())
                tokens.unlink()
    if joined.stat().st_size != sum(sizes):
        raise UserError(f"{joined}: not the {sum(sizes)} bytes that its parts' .idx say; delete them and make them again")


def _append(source: Path, output: IO[bytes]) -> None:
    end = output.seek(0, os.SEEK_END)
    with open(source, "rb") as file:
        left = os.fstat(file.fileno()).st_size
        try:
            while left > 0 and (copied := os.copy_file_range(file.fileno(), output.fileno(), left, offset_dst=end)):
                left, end = left - copied, end + copied
        except OSError:  # not every file system and kernel has it
            pass
        if left:
            output.seek(end)
            shutil.copyfileobj(file, output, 8 * _CHUNK)
            output.flush()


class _Head(NamedTuple):
    """What an .idx says of itself."""

    dtype: np.dtype[np.integer]
    sequences: int
    documents: int
    bin_bytes: int


def _head(index: Path) -> _Head:
    with open(index, "rb") as file:
        _, _, code, sequences, marks = HEADER.unpack(file.read(HEADER.size))
        dtype, end = np.dtype(DTYPES[code]), 0
        if sequences:
            (length,) = next(_chunks(file, HEADER.size + 4 * (sequences - 1), "<i4", 1))
            (start,) = next(_chunks(file, HEADER.size + 12 * sequences - 8, "<i8", 1))
            end = int(start) + int(length) * dtype.itemsize
    return _Head(dtype, sequences, marks - 1, end)


def _chunks(file: IO[bytes], offset: int, dtype: str, count: int) -> Iterator[np.ndarray]:
    """`count` entries of an array in a file, some at a time."""
    file.seek(offset)
    for start in range(0, count, _CHUNK):
        yield np.frombuffer(file.read(min(_CHUNK, count - start) * np.dtype(dtype).itemsize), dtype)
