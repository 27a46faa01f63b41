"""Documents in Parquet shards (zstd): the one schema, reading with clear errors, writing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from megatron_snow.common.errors import UserError

# Stages may add columns (group, score, ...); these are always there.
DOCUMENT = pa.schema([
    ("id", pa.string()),            # BLAKE2b-128 of the content, hexadecimal
    ("repository", pa.string()),    # "python:numpy", "debian:libc6-dev", "owner/name"
    ("path", pa.string()),          # inside the repository, with forward slashes
    ("language", pa.string()),      # linguist's name: "Python", "C++"
    ("licence", pa.string()),       # SPDX identifier or what the source says; "" where unknown
    ("size", pa.int64()),           # bytes of the content in UTF-8
    ("provenance", pa.string()),    # where it was read: a path, an archive member, a prompt's key
    ("content", pa.string()),
])  # fmt: skip

# 24 MB of text: a filter pass of some seconds a shard on one core, and small beside any machine's memory.
SHARD_BYTES = 24_000_000


def shards_in(folder: Path) -> list[Path]:
    """The Parquet files of a folder, in order; UserError when there are none."""
    shards = sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))
    if not shards:
        raise UserError(f"{folder}: no .parquet shards there; run the stage that makes them first, or check --input")
    return shards


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A whole shard as a table; UserError that names a damaged file or a missing column."""
    try:
        return pq.read_table(path, columns=list(columns) if columns else None)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def read_documents(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a shard as dicts, one row group in memory at a time."""
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in columns or [] if name not in file.schema_arrow.names]
            if missing:
                raise UserError(f"{path}: no column {missing[0]!r}; it has {', '.join(file.schema_arrow.names)}")
            for batch in file.iter_batches(batch_size=256, columns=list(columns) if columns else None):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def schema_of(path: Path) -> pa.Schema:
    """The columns of a shard."""
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def count_rows(path: Path) -> int:
    """Rows of a shard, from its footer."""
    return int(pq.read_metadata(path).num_rows)


def write_table(table: pa.Table, path: Path) -> None:
    """Write one shard (zstd level 3, the level where decompression is not yet slower than the disk)."""
    pq.write_table(table, path, compression="zstd", compression_level=3)


class ShardWriter:
    """Write rows to one shard, buffered by bytes of content. Use as a context manager."""

    _BUFFER_BYTES = 8_000_000

    def __init__(self, path: Path, schema: pa.Schema = DOCUMENT) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=3)
        self._schema = schema
        self._rows: list[Mapping[str, Any]] = []
        self._bytes = 0

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one row with at least the columns of the schema."""
        self._rows.append(row)
        self._bytes += row.get("size") or 0
        if self._bytes >= self._BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._bytes = [], 0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self._flush()
        self._writer.close()


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: no such shard; run the stage that makes it again")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UserError(f"{path}: damaged shard ({reason}); delete it and run the stage that makes it again")
