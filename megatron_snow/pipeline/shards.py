"""Documents in shards: the one schema, Parquet (zstd) and JSONL in, Parquet out, in batches of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError
from megatron_snow.pipeline import json_lines
from megatron_snow.pipeline.columns import DOCUMENT, conform, holds_documents, names_for, require

# 24 MB of text: a filter pass of some seconds a shard on one core, and small beside any machine's memory.
SHARD_BYTES = 24_000_000
# Of text that is in memory at a time, whatever the size of a shard.
BATCH_BYTES = 32_000_000
# A file that is larger on disk is cut into several tasks, at its row groups or lines.
SPLIT_BYTES = 64_000_000

# What a task reads of a file: {"row_groups": [0, 1]} or {"bytes": [start, end]}; None: all of it.
Piece = Mapping[str, Sequence[int]] | None


def shards_in(folder: Path) -> list[Path]:
    """The Parquet files of a folder, in order; UserError when there are none."""
    shards = sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))
    if not shards:
        raise UserError(f"{folder}: no .parquet shards there; run the stage that makes them first, or check --input")
    return shards


def pieces_of(path: Path, size: int = 0) -> list[Piece]:
    """How a file is cut into tasks: [None] for one of up to `size` bytes (SPLIT_BYTES), or one that cannot be cut (compressed JSONL)."""
    size = size or SPLIT_BYTES
    if not path.is_file() or path.stat().st_size <= size:
        return [None]
    if json_lines.is_json_lines(path):
        return [{"bytes": piece} for piece in json_lines.pieces_of(path, size)] or [None]
    metadata = _metadata(path)
    cuts: list[list[int]] = [[]]
    total = 0
    for number in range(metadata.num_row_groups):
        if cuts[-1] and total + metadata.row_group(number).total_byte_size > 2 * size:
            cuts.append([])
            total = 0
        cuts[-1].append(number)
        total += metadata.row_group(number).total_byte_size
    return [{"row_groups": cut} for cut in cuts] if len(cuts) > 1 else [None]


def batches_of(path: Path, columns: Sequence[str] | None = None, piece: Piece = None) -> Iterator[pa.Table]:
    """A shard's rows in tables of about BATCH_BYTES of text, in order; UserError for a damaged file or a missing column.

    Columns of `DOCUMENT` are there whatever the file calls them (`conform`); others come as they are. Without `columns`
    they are documents, and have a text; what stages keep for themselves is read by naming its columns, or by `read_table`.
    """
    if columns is None and not holds_documents(names := schema_of(path).names):
        require(["content"], names, path)
    yield from _batches(path, columns, piece)


def _batches(path: Path, columns: Sequence[str] | None, piece: Piece) -> Iterator[pa.Table]:
    if json_lines.is_json_lines(path):
        for table in json_lines.tables_of(path, piece["bytes"] if piece else None, BATCH_BYTES):
            if not holds_documents(table.column_names):
                require(["content"], table.column_names, path)
            yield conform(table, columns, path)
        return
    try:
        with pq.ParquetFile(path) as file:
            groups = list(piece["row_groups"]) if piece else list(range(file.num_row_groups))
            names = file.schema_arrow.names
            documents = holds_documents(names)
            if not documents:
                require(columns or [], names, path)
            wanted = names_for(names, columns, path) if documents else columns
            for number in groups:
                for batch in file.iter_batches(_rows_a_batch(file.metadata.row_group(number)), row_groups=[number], columns=wanted):
                    table = pa.Table.from_batches([batch])
                    table.validate(full=True)  # that text is UTF-8: a file of others may hold anything
                    yield conform(table, columns, path) if documents else table.select(columns or names)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _rows_a_batch(group: Any) -> int:
    return max(1, min(group.num_rows, group.num_rows * BATCH_BYTES // max(1, group.total_byte_size)))


def picked_rows(
    path: Path, rows: NDArray[np.int64], columns: Sequence[str], piece: Piece = None
) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """Chosen rows of a shard (ascending) and their numbers, a batch in memory at a time.

    Row groups without any are not read, lines of JSONL that are not chosen not parsed.
    """
    if json_lines.is_json_lines(path):
        for here, table in json_lines.picked(path, piece["bytes"] if piece else None, BATCH_BYTES, rows):
            yield here, conform(table, columns, path)
        return
    metadata, start = _metadata(path), 0
    for number in piece["row_groups"] if piece else range(metadata.num_row_groups):
        end = start + metadata.row_group(number).num_rows
        if np.searchsorted(rows, end) == np.searchsorted(rows, start):
            start = end
            continue
        for batch in batches_of(path, columns, {"row_groups": [number]}):
            here = rows[slice(*np.searchsorted(rows, [start, start + batch.num_rows]))]
            if len(here):
                yield here, batch.take(here - start)
            start += batch.num_rows


def read_table(path: Path, columns: Sequence[str] | None = None, piece: Piece = None) -> pa.Table:
    """A whole shard, or a piece of it, as one table; for shards of about SHARD_BYTES or for columns without the text."""
    batches = list(_batches(path, columns, piece))
    if batches:
        return pa.concat_tables(batches)
    schema = schema_of(path)
    return schema.empty_table() if columns is None else schema.empty_table().select(list(columns))


def read_documents(path: Path, columns: Sequence[str] | None = None, piece: Piece = None) -> Iterator[dict[str, Any]]:
    """The rows of a shard as dicts, one batch in memory at a time."""
    for batch in batches_of(path, columns, piece):
        for part in batch.to_batches(256):
            yield from part.to_pylist()


def schema_of(path: Path) -> pa.Schema:
    """The columns of a shard, as `batches_of` gives them."""
    if json_lines.is_json_lines(path):
        return conform(json_lines.schema_of(path).empty_table(), None, path).schema
    try:
        schema = pq.read_schema(path)
        return conform(schema.empty_table(), None, path).schema if holds_documents(schema.names) else schema
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def count_rows(path: Path, piece: Piece = None) -> int:
    """Rows of a Parquet shard or of a piece of it, from its footer; of JSONL by counting lines."""
    if json_lines.is_json_lines(path):
        return sum(table.num_rows for table in json_lines.tables_of(path, piece["bytes"] if piece else None, BATCH_BYTES))
    metadata = _metadata(path)
    return int(sum(metadata.row_group(number).num_rows for number in piece["row_groups"]) if piece else metadata.num_rows)


def write_table(table: pa.Table, path: Path) -> None:
    """Write one shard (zstd level 3, the level where decompression is not yet slower than the disk)."""
    with ShardWriter(path, table.schema) as writer:
        writer.write_table(table)


class ShardWriter:
    """Write rows or tables to one Parquet shard, buffered by bytes of content. Use as a context manager."""

    _BUFFER_BYTES = 8_000_000

    def __init__(self, path: Path | IO[bytes], schema: pa.Schema = DOCUMENT) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=3)
        self._schema = schema
        self._rows: list[Mapping[str, Any]] = []
        self._bytes = 0

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one row; a column of the schema that it lacks is null."""
        self._rows.append(row)
        self._bytes += row.get("size") or 0
        if self._bytes >= self._BUFFER_BYTES:
            self._flush()

    def write_table(self, table: pa.Table) -> None:
        """Add a table with the schema's columns, as row groups of about BATCH_BYTES: what reading takes at a time."""
        rows = max(1, table.num_rows * BATCH_BYTES // max(1, table.nbytes))
        for start in range(0, table.num_rows, rows):
            self.write_row_group(table.slice(start, rows))

    def write_row_group(self, table: pa.Table) -> None:
        """Add a table as one row group. The bytes depend on its values alone, not on how they lay in memory: corpus.lock needs that."""
        self._flush()
        self._writer.write_table(
            table.select(self._schema.names).cast(self._schema).combine_chunks(), row_group_size=max(1, table.num_rows)
        )

    def _flush(self) -> None:
        if self._rows:
            rows, self._rows, self._bytes = self._rows, [], 0
            self.write_row_group(pa.Table.from_pylist(rows, schema=self._schema))

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self._flush()
        self._writer.close()


def _metadata(path: Path) -> Any:
    try:
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: no such shard; run the stage that makes it again")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UserError(f"{path}: damaged shard ({reason}); delete it and run the stage that makes it again")
