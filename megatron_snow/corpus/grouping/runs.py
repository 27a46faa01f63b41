"""The file between the two halves of the shuffle: documents by the output they go to, found by a seek.

    runs       one a (part, output): the size in bytes, u64, then Arrow IPC compressed as a whole by zstd level 1
    offsets    int64[parts, outputs + 1]: the run of output k in part p lies at offsets[p, k]:offsets[p, k + 1]
    footer     parts and outputs, u64

All numbers are little-endian. A part is what was in memory at a time. Parquet with a row group an output would
do, but every reader has to parse the whole footer to find its rows: work that grows with outputs squared.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError

_CODEC = pa.Codec("zstd", compression_level=1)  # half the time of level 3; the file is read once
_SIZE = struct.Struct("<Q")
_FOOTER = struct.Struct("<QQ")
_MOST = 1_000_000_000  # bytes of a part: a string column of Arrow holds 2 GB


class RunsWriter:
    """Collects rows with the number of their output, about `memory` bytes at a time. Use as a context manager."""

    def __init__(self, path: Path, outputs: int, memory: int) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 closed by __exit__
        self._outputs, self._memory = outputs, min(memory, _MOST)
        self._tables: list[pa.Table] = []
        self._numbers: list[NDArray[np.int64]] = []
        self._bytes = 0
        self._offsets: list[NDArray[np.int64]] = []

    def write(self, table: pa.Table, numbers: NDArray[np.int64]) -> None:
        """Rows, and for each the number of its output."""
        if self._tables and self._bytes + table.nbytes > self._memory:
            self._flush()
        self._tables.append(table)
        self._numbers.append(numbers)
        self._bytes += table.nbytes

    def _flush(self) -> None:
        numbers, table = np.concatenate(self._numbers), pa.concat_tables(self._tables).combine_chunks()
        self._tables, self._numbers, self._bytes = [], [], 0
        order = np.argsort(numbers, kind="stable")
        borders = np.searchsorted(numbers[order], np.arange(self._outputs + 1))
        lengths = np.zeros(self._outputs + 1, np.int64)
        lengths[0] = self._file.tell()
        for output in np.flatnonzero(np.diff(borders)):
            lengths[output + 1] = self._write_run(table.take(pa.array(order[borders[output] : borders[output + 1]])))
        self._offsets.append(np.cumsum(lengths))

    def _write_run(self, rows: pa.Table) -> int:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        plain = sink.getvalue()
        return self._file.write(_SIZE.pack(plain.size)) + self._file.write(_CODEC.compress(plain))

    def __enter__(self) -> RunsWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._file:
            if exception[0] is None:
                if self._tables:
                    self._flush()
                for offsets in self._offsets:
                    self._file.write(offsets.astype("<i8").tobytes())
                self._file.write(_FOOTER.pack(len(self._offsets), self._outputs))


def read_runs(path: Path, output: int) -> Iterator[pa.Table]:
    """The rows of one output, in the order in which they were written; UserError for a damaged file."""
    try:
        yield from _read_runs(path, output)
    except (pa.ArrowException, OSError, ValueError, OverflowError, struct.error) as error:  # the last four of sizes that cannot be
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: damaged ({reason}); delete it and run group-corpus again") from error


def _read_runs(path: Path, output: int) -> Iterator[pa.Table]:
    with open(path, "rb") as file:
        file.seek(-_FOOTER.size, 2)
        end = file.tell()
        parts, outputs = _FOOTER.unpack(file.read(_FOOTER.size))
        for part in range(parts):
            file.seek(end - 8 * ((parts - part) * (outputs + 1) - output))
            first, last = np.frombuffer(file.read(16), "<i8").tolist()
            if last > first:
                file.seek(first)
                size = _SIZE.unpack(file.read(_SIZE.size))[0]
                plain = _CODEC.decompress(file.read(last - first - _SIZE.size), size)
                yield pa.ipc.open_stream(plain).read_all()
