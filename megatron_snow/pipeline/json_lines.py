"""JSONL (plain, .gz, .zst) as Arrow tables: parsed by blocks of whole lines, a plain file cut at any byte."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.json
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError

ENDINGS = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
_SAMPLE_BYTES = 4_000_000  # from which the columns are told
_LONGEST_LINE = 256_000_000  # bytes; a longer one is a broken file, and would not fit into memory many times over

_DEEPEST = 900  # Python's parser stops at 1,000; Arrow's inference of types has no end but the stack's (5,000 pass, 20,000 do not)

_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"{[")], _STEPS[list(b"}]")] = 1, -1


def is_json_lines(path: Path) -> bool:
    """By its name."""
    return path.name.endswith(ENDINGS)


def pieces_of(path: Path, size: int) -> list[list[int]]:
    """[start, end) in bytes of about `size` each; a piece holds the lines that begin in it. None for a compressed file."""
    if path.suffix not in (".jsonl", ".json"):
        return []
    total = path.stat().st_size
    return [[start, min(total, start + size)] for start in range(0, total, size)]


def schema_of(path: Path) -> pa.Schema:
    """The columns of a file by its first lines; one that is null in all of them is text."""
    block = next(_blocks(path, None, _SAMPLE_BYTES), (0, b""))[1]
    if _depth(block) > _DEEPEST and (reason := _reason(block, 0)):
        raise UserError(f"{path}: {reason}")
    table = _parse(path, 0, block, None) if block and not block.isspace() else pa.table({"content": pa.array([], pa.string())})
    return pa.schema([field.with_type(_as_written(field.type)) for field in table.schema])


def _depth(block: bytes) -> int:
    """How deep objects and lists may lie in each other; brackets within text count too, so it can be less."""
    steps = _STEPS[np.frombuffer(block, np.uint8)]
    depth = np.cumsum(steps[np.flatnonzero(steps)], dtype=np.int32)
    return int((depth - np.minimum.accumulate(depth)).max(initial=0))


def _as_written(kind: pa.DataType) -> pa.DataType:
    """Arrow's guess without what it would change: "2020-01-01T00:00:00Z" is text, not a time that is written otherwise."""
    if pa.types.is_null(kind) or pa.types.is_temporal(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_as_written(kind.value_type))
    return pa.struct([field.with_type(_as_written(field.type)) for field in kind]) if pa.types.is_struct(kind) else kind


def tables_of(path: Path, piece: Sequence[int] | None, batch_bytes: int, schema: pa.Schema | None = None) -> Iterator[pa.Table]:
    """The rows of a file or of a piece of it: the columns of `schema`, of which others may be of any kind, or those of the first lines."""
    schema = schema_of(path) if schema is None else schema
    for offset, block in _blocks(path, piece, batch_bytes):
        if not block.isspace():
            yield _parse(path, offset, block, schema)


def picked(
    path: Path, piece: Sequence[int] | None, batch_bytes: int, rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """Chosen rows (ascending) and their numbers, by about `batch_bytes` of the file; the lines of other rows are not parsed."""
    schema, start = schema_of(path), 0
    for offset, block in _blocks(path, piece, batch_bytes):
        lines = _lines_of(block)
        here = rows[slice(*np.searchsorted(rows, [start, start + len(lines)]))]
        if len(here):
            yield here, _parse(path, offset, b"\n".join(block[first:end] for first, end in lines[here - start].tolist()), schema)
        start += len(lines)


def _lines_of(block: bytes) -> NDArray[np.int64]:
    """(start, end) of each line that is not blank."""
    data = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    if not block.endswith(b"\n"):
        ends = np.append(ends, len(block))
    lines = np.stack([np.concatenate(([0], ends[:-1] + 1)), ends], 1)
    filled = lines[:, 0] < lines[:, 1]
    doubtful = np.flatnonzero(filled)[data[lines[filled, 0]] != ord("{")]
    filled[[number for number in doubtful.tolist() if block[slice(*lines[number].tolist())].isspace()]] = False
    return lines[filled]


def _blocks(path: Path, piece: Sequence[int] | None, size: int) -> Iterator[tuple[int, bytes]]:
    """(offset, whole lines) of about `size` bytes."""
    start, end = piece or (0, 1 << 62)
    if path.suffix in (".gz", ".zst") and path.is_file() and not path.stat().st_size:
        raise UserError(f"{path}: damaged (no byte in it, and a compressed file has a head); restore it or take it out")
    try:
        with pa.input_stream(str(path), compression="detect") if piece is None else open(path, "rb") as raw:
            file = io.BufferedReader(raw) if piece is None else raw
            if start:
                file.seek(start - 1)
                start += len(_line(file, path)) - 1  # the line that began before is another piece's
            while start < end:
                block = file.read(min(size, end - start))
                if block and not block.endswith(b"\n"):
                    block += _line(file, path)
                if not block:
                    return
                yield start, block
                start += len(block)
    except (pa.ArrowException, OSError, EOFError) as error:
        if isinstance(error, FileNotFoundError):
            raise UserError(f"{path}: no such file; check --input") from error
        raise UserError(f"{path}: damaged ({str(error).splitlines()[0]}); restore it or take it out") from error


def _line(file: io.BufferedReader, path: Path) -> bytes:
    line = file.readline(_LONGEST_LINE)
    if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
        raise UserError(f"{path}: a line is over {_LONGEST_LINE // 1_000_000} MB; collect-corpus counts and drops such lines, or cut it")
    return line


def _parse(path: Path, offset: int, block: bytes, schema: pa.Schema | None) -> pa.Table:
    """The rows of whole lines that begin at `offset` in the (unpacked) file; UserError that names the line at fault."""
    options = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer" if schema is None else "ignore")
    whole = pa.json.ReadOptions(use_threads=False, block_size=len(block) + 1)
    try:
        table = pa.json.read_json(pa.BufferReader(block), read_options=whole, parse_options=options)
        table.validate(full=True)  # that text is UTF-8, at 7 GB/s; compiled loops count on it
    except pa.ArrowException as error:
        reason = _reason(block, offset) or f"{str(error).splitlines()[0]}; every line needs each key at most once and with one type"
        raise UserError(f"{path}: {reason}") from error
    if table.num_rows != np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n")) and table.num_rows != len(_lines_of(block)):
        raise UserError(
            f"{path}: {_reason(block, offset) or 'an object ends on another line than it begins'}; a line holds one JSON object"
        )
    return table


def _reason(block: bytes, offset: int) -> str:
    """What is wrong with the first bad line, in the words of Python's parser: Arrow names only the row of a block."""
    for line in block.split(b"\n"):
        try:
            if line.strip():
                value = json.loads(line)
                if not isinstance(value, dict):
                    return f"the line at byte {offset} is not an object but {line[:40].decode(errors='replace')!r}"
                json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return f"the line at byte {offset} has half of a surrogate pair (\\ud800 to \\udfff), which is no text; replace or delete it"
        except UnicodeDecodeError as error:
            return f"the line at byte {offset} is not UTF-8 ({error.reason} at {error.start}); collect-corpus counts and drops such lines"
        except RecursionError:
            return f"the line at byte {offset} has objects or lists too deep in each other; flatten it or delete it"
        except ValueError as error:
            return f"the line at byte {offset} is not valid JSON ({error}): {line[:60].decode(errors='replace')!r}; restore or delete it"
        offset += len(line) + 1
    return ""
