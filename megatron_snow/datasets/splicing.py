"""A dataset put together from stretches of files of other .bin: how parts are joined, and how documents are taken out.

Tokens are copied by the kernel in ranges as long as they can be (`copy_file_range`: no copy in memory, on XFS and Btrfs none
on disk); only where another token than before stands between two files is one written. What comes out depends on the
files alone, not on the stretches in which they come.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.datasets.index_format import MAX_SEQUENCE
from megatron_snow.datasets.lineage import STARTS, SUFFIX, TEXTS, LineageWriter
from megatron_snow.datasets.sequences import NOTHING, Separation, SequenceCutter
from megatron_snow.datasets.writing import IndexArrays

ALONE = -2  # in place of a joint: the file before this one is not the one before it in the source
_COPIED = 1 << 22  # bytes in memory, where the kernel cannot copy


class Stretch(NamedTuple):
    """Files that lie one after the other in the .bin of `source`; positions and lengths in tokens, without separators."""

    rows: pa.Table  # the lineage's columns TEXTS, size, name_tokens
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    joints: NDArray[np.int64]  # the token before each file in the source, NOTHING or ALONE
    group_begins: NDArray[np.bool_]
    name_starts: NDArray[np.int64]  # where "<repo_name>NAME<file_sep>" lies that comes before a file but not there in the source ...
    name_lengths: NDArray[np.int64]  # ... and its tokens; mostly 0


class Splicer:
    """Write PREFIX.bin, .idx, .lineage.parquet and .starts.npy from stretches of `files` files in all; a context manager."""

    def __init__(self, prefix: Path, separation: Separation, dtype: np.dtype[np.integer], files: int, about: Mapping[str, Any]) -> None:
        """`about`: what else the lineage says of the dataset."""
        self._prefix, self._separation, self._dtype, self._about = prefix, separation, dtype, about
        self._cutter = SequenceCutter(separation)
        with ExitStack() as stack:
            self._bin = stack.enter_context(open(beside(prefix, ".bin"), "wb", buffering=0))
            self._index = stack.enter_context(IndexArrays(prefix, dtype))
            self._lineage = stack.enter_context(LineageWriter(beside(prefix, SUFFIX)))
            self._starts = stack.enter_context(open(beside(prefix, STARTS), "wb"))
            self._stack = stack.pop_all()
        np.lib.format.write_array_header_1_0(self._starts, {"descr": "<i8", "fortran_order": False, "shape": (files,)})
        self._files = files
        self.num_tokens = self.groups = self.sequences = 0
        self._sequence_start = 0

    def add(self, source: IO[bytes], files: Stretch) -> None:
        """Append files of an open .bin; UserError for one that no sequence can hold."""
        if not len(files.starts):
            return
        lengths = files.lengths + files.name_lengths
        self._check_lengths(lengths, files.rows)
        begins = self._cutter.begins(lengths, files.group_begins)
        joints = self._separation.joints(begins)
        if not self.num_tokens and not self.groups:
            joints[0] = NOTHING
        sizes = lengths + (joints != NOTHING)
        starts = self.num_tokens + np.cumsum(sizes) - lengths
        self._copy(source, files, joints)
        self._end_sequences(starts[begins])
        self._describe(files, starts, lengths)
        self.num_tokens += int(sizes.sum())

    def _copy(self, source: IO[bytes], files: Stretch, joints: NDArray[np.int64]) -> None:
        """Ranges that reach from one place where the source and this differ to the next."""
        ends = files.starts + files.lengths
        breaks = np.flatnonzero((files.joints != joints) | (files.name_lengths > 0) | (np.arange(len(ends)) == 0))
        range_ends = ends[np.append(breaks[1:], len(ends)) - 1]
        columns = (joints[breaks], files.name_starts[breaks], files.name_lengths[breaks], files.starts[breaks], range_ends)
        for joint, name_start, name_length, start, end in zip(*(column.tolist() for column in columns)):
            if joint != NOTHING:
                self._write(joint)
            self._copy_tokens(source, name_start, name_length)
            self._copy_tokens(source, start, end - start)

    def _copy_tokens(self, source: IO[bytes], start: int, count: int) -> None:
        if count:
            copy_range(source, self._bin, start * self._dtype.itemsize, count * self._dtype.itemsize)

    def _write(self, token: int) -> None:
        self._bin.write(np.array(token, self._dtype.newbyteorder("<")).tobytes())

    def _end_sequences(self, next_starts: NDArray[np.int64]) -> None:
        """Close the open sequence, and each that ends where another starts."""
        borders = np.concatenate([[self._sequence_start], next_starts])
        lengths = np.diff(borders)
        self._index.add(lengths[lengths > 0])  # before the first sequence there is none
        self.sequences += int(np.count_nonzero(lengths))
        self._sequence_start = int(borders[-1])

    def _describe(self, files: Stretch, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        groups = self.groups - 1 + np.cumsum(files.group_begins)
        self.groups = int(groups[-1]) + 1
        rows = files.rows.select([*TEXTS, "size", "name_tokens"])
        for name, values in (("token_start", starts), ("tokens", lengths), ("group", groups)):
            rows = rows.append_column(name, pa.array(values))
        self._lineage.write(rows)
        self._starts.write(starts.astype("<i8").tobytes())
        self._files -= len(starts)

    def _check_lengths(self, lengths: NDArray[np.int64], rows: pa.Table) -> None:
        if lengths.max(initial=0) >= MAX_SEQUENCE:
            row = rows.slice(int(lengths.argmax()), 1).to_pylist()[0]
            raise UserError(
                f"{row['repository']} {row['path']}: {lengths.max():,} tokens, a sequence holds {MAX_SEQUENCE:,}; "
                f"leave the file out (corpus.max_file_bytes)"
            )

    def __enter__(self) -> Splicer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._stack:
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        assert not self._files, f"{self._files} files fewer than were announced"
        if self.groups:
            self._write(self._separation.eod)
            self.num_tokens += 1
            self._end_sequences(np.array([self.num_tokens]))
        self._index.finish(beside(self._prefix, ".idx"))
        tokens = {"tokens": self.num_tokens, "token_bytes": self._dtype.itemsize}
        self._lineage.describe({**self._about, **tokens, "separation": self._separation.as_dict()})


def copy_range(source: IO[bytes], target: IO[bytes], start: int, count: int) -> None:
    """Append `count` bytes from `start` of a file to another, by the kernel where it can; both unbuffered."""
    end = start + count
    try:
        while start < end:
            copied = os.copy_file_range(source.fileno(), target.fileno(), end - start, offset_src=start)
            if not copied:
                raise UserError(f"{source.name}: ends before byte {end:,}; it is cut, make it again")
            start += copied
    except OSError:  # not every file system and kernel has it; one without room fails again below
        while start < end:
            data = os.pread(source.fileno(), min(_COPIED, end - start), start)
            if not data:
                raise UserError(f"{source.name}: ends before byte {end:,}; it is cut, make it again") from None
            start += target.write(data)
