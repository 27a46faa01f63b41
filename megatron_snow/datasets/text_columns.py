"""The texts that preprocess_data reads: JSONL, plain or compressed, and Parquet, as Arrow columns in small batches."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError
from megatron_snow.pipeline import BATCH_BYTES, Piece, json_lines, pieces_of
from megatron_snow.pipeline.shards import SPLIT_BYTES

_BATCH_BYTES = 8_000_000  # of text at a time: its ids, twice in memory, are as much again
_SMALLEST_PIECE = 4_000_000  # a quarter of a second of work for the slowest encoder: ten times what a task costs
_LONGEST_LINE = 256_000_000  # bytes; the reader's own limit
_TEXT = pa.string()
_FLAG = "--json-keys"

Lengths = NDArray[np.int64]


class TextColumn(NamedTuple):
    """The texts of one key in a batch of documents: one a document, or `counts[i]` of them (a list of sentences)."""

    texts: pa.Array  # string, without nulls
    counts: Lengths | None

    @property
    def size(self) -> int:
        """Bytes of UTF-8."""
        return int(pc.sum(pc.binary_length(self.texts)).as_py() or 0)


def is_parquet(path: Path) -> bool:
    """By its name."""
    return path.name.endswith(".parquet")


def check_kind(path: Path) -> None:
    """UserError where a file is neither Parquet nor JSONL, by its name."""
    if not is_parquet(path) and not json_lines.is_json_lines(path):
        raise UserError(f"{path}: neither Parquet nor JSONL; the name must end in .parquet or one of {', '.join(json_lines.ENDINGS)}")


def pieces_of_texts(path: Path) -> list[Piece]:
    """How a file is cut into tasks: about 64 pieces of 4 to 64 MB, so that the last one to end is not waited for long."""
    check_kind(path)
    size = path.stat().st_size if path.is_file() else 0
    return pieces_of(path, min(SPLIT_BYTES, max(_SMALLEST_PIECE, size // 64)))


def text_columns(path: Path, keys: Sequence[str], piece: Piece = None) -> Iterator[list[TextColumn]]:
    """A file's texts under `keys` (JSON keys, columns of Parquet) in batches of about 8 MB, in order.

    A text or a list of texts under each key of each document; UserError that says where one lacks it or a file is damaged.
    """
    tables = _parquet_tables(path, keys, piece) if is_parquet(path) else json_tables(path, keys, piece)
    for table in tables:
        rows = max(1, table.num_rows * _BATCH_BYTES // max(1, table.nbytes))
        for start in range(0, table.num_rows, rows):
            part = table.slice(start, rows)
            yield [_column(part[key], f"{path}: {key!r}") for key in keys]


def place_of(path: Path, piece: Piece, document: int) -> str:
    """Where a document of a piece, counted from 0, is in its file; for a message."""
    if not is_parquet(path):
        filled = (offset for offset, line in _lines(path, piece["bytes"] if piece else None) if line.strip())
        return f"{path}: the line at byte {next(islice(filled, document, None), '?')}"
    with pq.ParquetFile(path) as file:
        before = range(piece["row_groups"][0]) if piece else ()
        return f"{path}: row {document + sum(file.metadata.row_group(group).num_rows for group in before)}"


def _column(column: pa.ChunkedArray, where: str) -> TextColumn:
    array = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    counts = None
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        counts, array = pc.list_value_length(array).to_numpy().astype(np.int64), pc.list_flatten(array)
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        raise UserError(f"{where} is {array.type}, not text; name another with {_FLAG}")
    return TextColumn(array, counts)


def _parquet_tables(path: Path, keys: Sequence[str], piece: Piece) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for key in keys:
                if key not in names:
                    raise UserError(f"{path}: no column {key!r} (there is: {', '.join(names)}); name the column with {_FLAG}")
            row = 0  # of the piece
            for group in piece["row_groups"] if piece else range(file.num_row_groups):
                head = file.metadata.row_group(group)
                rows = max(1, min(head.num_rows, head.num_rows * BATCH_BYTES // max(1, head.total_byte_size)))
                for batch in file.iter_batches(rows, row_groups=[group], columns=list(keys)):
                    table = pa.Table.from_batches([batch])
                    table.validate(full=True)  # that text is UTF-8: a file of others may hold anything
                    for key in keys:
                        if (bad := _first_null(table[key])) is not None:
                            raise UserError(
                                f"{place_of(path, piece, row + bad)} has no text in the column {key!r}; fill it or take the row out"
                            )
                    row += table.num_rows
                    yield table
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged ({str(error).splitlines()[0]}); restore it or take it out") from error


def json_tables(path: Path, keys: Sequence[str], piece: Piece, flag: str = _FLAG, more: Sequence[str] = ()) -> Iterator[pa.Table]:
    """A text, or a list of texts, under each of `keys`; under `more` a text or null. `flag`: what names a key, for messages."""
    span = piece["bytes"] if piece else None
    try:
        for table in _first_and_rest(path, [*keys, *(key for key in more if key not in keys)], span):
            if any(_first_null(table[key]) is not None for key in keys):
                raise UserError(f"{path}: a document lacks one of {', '.join(keys)}")
            yield table
    except UserError as error:
        raise UserError(_first_without(path, keys, span, flag) or str(error)) from error


def _first_and_rest(path: Path, keys: Sequence[str], span: Sequence[int] | None) -> Iterator[pa.Table]:
    """Tables with a text under each key; with a list of texts under some where the first lines have that."""
    tables = json_lines.tables_of(path, span, _BATCH_BYTES, pa.schema([(key, _TEXT) for key in keys]))
    try:
        first = next(tables, None)
    except UserError:
        schema = pa.schema([(key, _json_kind(path, key, span)) for key in keys])
        yield from json_lines.tables_of(path, span, _BATCH_BYTES, schema)
        return
    if first is not None:
        yield first
        yield from tables


def _json_kind(path: Path, key: str, span: Sequence[int] | None) -> pa.DataType:
    """Text, or a list of texts, as the first lines have it; UserError where they have neither."""
    for kind in (_TEXT, pa.list_(_TEXT)):
        try:
            next(json_lines.tables_of(path, span, _BATCH_BYTES, pa.schema([(key, kind)])), None)
            return kind
        except UserError as error:
            reason = error
    raise reason


def _first_null(column: pa.ChunkedArray) -> int | None:
    """The first row without a text, or with a list that lacks one."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        if not pc.list_flatten(column).null_count and not column.null_count:
            return None
        return next(row for row, texts in enumerate(column.to_pylist()) if texts is None or None in texts)
    return int(pc.index(column.is_null(), True).as_py()) if column.null_count else None


def _first_without(path: Path, keys: Sequence[str], span: Sequence[int] | None, flag: str) -> str:
    """What is wrong with the first document that has no text under a key; "": every one has, or the reader has said it better."""
    try:
        for offset, line in _lines(path, span):
            record = json.loads(line) if line.strip() else dict.fromkeys(keys, "")
            for key in keys:
                if not _is_text(record.get(key) if isinstance(record, dict) else None):
                    has = ", ".join(record) if isinstance(record, dict) else type(record).__name__
                    where = f"{path}: the line at byte {offset} has no text under the key {key!r}"
                    return f"{where} (there is: {has}); name the key with {flag}"
    except (ValueError, RecursionError, OSError, pa.ArrowException):
        pass
    return ""


def _lines(path: Path, span: Sequence[int] | None) -> Iterator[tuple[int, bytes]]:
    """(offset, line) of a file, unpacked, or of the lines that begin in a span of it; up to one that is too long."""
    start, end = span or (0, 1 << 62)
    with open(path, "rb") if span else pa.input_stream(str(path), compression="detect") as raw:
        file = raw if span else io.BufferedReader(raw)
        if start:
            file.seek(start - 1)
            start += len(file.readline()) - 1
        while start < end and 0 < len(line := file.readline(_LONGEST_LINE)) < _LONGEST_LINE:
            yield start, line
            start += len(line)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(part, str) for part in value))
