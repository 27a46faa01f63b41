"""Documents that others have already collected: JSONL (plain, .gz, .zst) and Parquet, a large file in several parts."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from megatron_snow.common.errors import UserError
from megatron_snow.config import Source
from megatron_snow.corpus.sources.parts import PART_BYTES, Limits, Part, RawFile, files_named_by, part_of_container
from megatron_snow.corpus.sources.rows import columns_of, files_of_row

_COMPRESSED = (".gz", ".zst", ".bz2")
_BATCH_BYTES = 16_000_000  # of a Parquet file in memory at a time, by the mean of the row group


def list_tables(source: Source, languages: Collection[str] = ()) -> Iterator[Part]:
    """The JSONL or Parquet files that a path or a glob names; one of over PART_BYTES is cut at its lines or row groups."""
    for path in files_named_by(source):
        yield from _row_groups(path) if source.kind == "parquet" else _spans(path)


def _spans(path: Path) -> Iterator[Part]:
    whole = part_of_container("jsonl", path)
    if whole.size <= PART_BYTES or path.name.endswith(_COMPRESSED):
        yield whole
        return
    for start in range(0, whole.size, PART_BYTES):
        end = min(whole.size, start + PART_BYTES)
        yield replace(whole, repository=f"{path.name}@{start}", size=end - start, piece=(start, end))


def _row_groups(path: Path) -> Iterator[Part]:
    whole = part_of_container("parquet", path)
    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(str(path), error) from error
    chosen: list[int] = []
    size = 0
    for number in range(metadata.num_row_groups):
        chosen.append(number)
        size += metadata.row_group(number).total_byte_size
        if size >= PART_BYTES or number == metadata.num_row_groups - 1:
            yield replace(whole, repository=f"{path.name}#{chosen[0]}", size=size, piece=tuple(chosen))
            chosen, size = [], 0


def read_parquet(part: Part, limits: Limits) -> Iterator[RawFile]:
    """The rows of a Parquet file's row groups; a row's place is FILE#GROUP.ROW."""
    try:
        with pq.ParquetFile(part.path) as file:
            chosen = columns_of(file.schema_arrow.names, f"{part.path}: ")
            columns = list(dict.fromkeys(chosen.values()))
            for number in part.piece:
                group = file.metadata.row_group(number)
                rows = max(1, min(256, group.num_rows * _BATCH_BYTES // max(1, group.total_byte_size)))
                batches = file.iter_batches(rows, row_groups=[number], columns=columns)
                for position, row in enumerate(row for batch in batches for row in batch.to_pylist()):
                    yield from files_of_row(row, chosen, part.path, f"{part.path}#{number}.{position}", limits)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # a string column may hold bytes that are no UTF-8
        raise _damaged(part.path, error) from error


def read_jsonl(part: Part, limits: Limits) -> Iterator[RawFile]:
    """The lines of a JSONL file or of a piece of it; one over the limit (JSON writes a byte as up to six) is skipped unparsed."""
    longest = 6 * limits.max_file_bytes + 65_536
    try:
        with _opened(part) as file:
            for place, line, size in _lines(file, part, longest):
                if line is None:
                    yield RawFile(part.path, "", place, dropped="too_large", size=size)
                elif line.strip():
                    row = _parse(line, place)
                    yield from files_of_row(row, columns_of(list(row), f"{place}: "), part.path, place, limits)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise _damaged(part.path, error) from error


def _opened(part: Part) -> IO[bytes]:
    if part.piece:
        return open(part.path, "rb")
    return io.BufferedReader(pa.input_stream(part.path, compression="detect"))


def _lines(file: IO[bytes], part: Part, longest: int) -> Iterator[tuple[str, bytes | None, int]]:
    """(place, line, bytes) of the lines that begin in the piece; None for a longer line; at most `longest` bytes in memory.

    A place is FILE:LINE, and FILE@BYTE in a piece, which does not know how many lines came before.
    """
    position, end = part.piece or (0, 1 << 62)
    if position:
        file.seek(position - 1)
        position += _rest_of_line(file, end - position + 1, longest) - 1  # what began before is another piece's
    number = 0
    while position < end:
        line, size = _line(file, longest)
        if not size:
            return
        number += 1
        yield (f"{part.path}@{position}" if part.piece else f"{part.path}:{number}"), line, size
        position += size


def _rest_of_line(file: IO[bytes], most: int, longest: int) -> int:
    """Bytes to the end of a line, `most` where it goes on: the piece of a huge line's middle need not find its end."""
    size = 0
    while size < most and (part := file.readline(min(longest, most - size))):
        size += len(part)
        if part.endswith(b"\n"):
            break
    return size


def _line(file: IO[bytes], longest: int) -> tuple[bytes | None, int]:
    """(line, its bytes); (None, bytes) for one over the limit."""
    line = file.readline(longest)
    if len(line) < longest or line.endswith(b"\n"):
        return line, len(line)
    size = len(line)
    while rest := file.readline(longest):
        size += len(rest)
        if rest.endswith(b"\n"):
            break
    return None, size


def _parse(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: not valid JSON ({error}); restore or delete the line") from error
    if not isinstance(row, dict):
        raise UserError(f"{place}: a line holds one JSON object, this is {type(row).__name__}")
    return row


def _damaged(path: str, error: Exception) -> UserError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UserError(f"{path}: damaged ({reason}); fetch it again or take it out of corpus.sources")
