"""Documents that others have already collected: JSONL (plain, .gz, .zst) and Parquet.

Columns are known by the names of The Stack v1 and StarCoderData and by those of our own schema.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from glob import glob
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from megatron_snow.common.errors import UserError
from megatron_snow.config import Source
from megatron_snow.corpus import licences
from megatron_snow.corpus.sources.files import is_text
from megatron_snow.corpus.sources.parts import PART_BYTES, Kind, Limits, Part, RawFile, part_of_container

_COLUMNS = {
    "content": ("content", "text", "code"),
    "repository": ("repository", "max_stars_repo_name", "repo_name", "repo"),
    "path": ("path", "max_stars_repo_path", "file_path"),
    "language": ("language", "lang"),
    "licence": ("licence", "max_stars_repo_licenses", "license", "licenses"),
}

# StarCoderData writes the metadata into the text: <reponame>a/b<filename>c.py<gh_stars>0
_STARCODER_HEADER = re.compile(r"\A(?:<(?:reponame|filename|gh_stars)>[^\n<]*)+\n?")


def list_tables(source: Source) -> Iterator[Part]:
    """The JSONL or Parquet files that a path or a glob names; a Parquet file is cut at its row groups."""
    paths = [Path(name) for name in sorted(glob(source.path, recursive=True))]
    if not paths:
        raise UserError(f"corpus.sources: {source.kind} {source.path}: no such file")
    kind: Kind = "parquet" if source.kind == "parquet" else "jsonl"
    for path in paths:
        yield from _row_groups(path) if kind == "parquet" else [part_of_container(kind, path)]


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
            yield Part("parquet", f"{path.name}#{chosen[0]}", "", size, (), str(path), whole.modified, tuple(chosen))
            chosen, size = [], 0


def read_parquet(part: Part, limits: Limits) -> Iterator[RawFile]:
    """The rows of a Parquet file's row groups."""
    try:
        with pq.ParquetFile(part.path) as file:
            names = file.schema_arrow.names
            chosen = {key: next((name for name in known if name in names), "") for key, known in _COLUMNS.items()}
            _require(chosen, f"{part.path}: ", names)
            columns = [name for name in chosen.values() if name]
            for batch in file.iter_batches(256, row_groups=list(part.row_groups), columns=columns):
                for row in batch.to_pylist():
                    yield _document(row, chosen, part.path, limits)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(part.path, error) from error


def read_jsonl(part: Part, limits: Limits) -> Iterator[RawFile]:
    """The lines of a JSONL file; one over the limit (JSON writes a byte as up to six) is skipped unparsed."""
    longest = 6 * limits.max_file_bytes + 65_536
    try:
        with pa.input_stream(part.path, compression="detect") as raw:
            for number, line in enumerate(_lines(io.BufferedReader(raw), longest), 1):
                place = f"{part.path}:{number}"
                if line is None:
                    yield RawFile(part.repository, "", "", place, dropped="too_large", size=longest)
                elif line.strip():
                    row = _parse(line, place)
                    chosen = {key: next((name for name in known if name in row), "") for key, known in _COLUMNS.items()}
                    _require(chosen, f"{place}: ", list(row))
                    yield _document(row, chosen, place, limits)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(part.path, error) from error


def _lines(file: io.BufferedReader, longest: int) -> Iterator[bytes | None]:
    """Lines, None for one that is longer; never more than `longest` bytes in memory."""
    while line := file.readline(longest):
        if len(line) < longest or line.endswith(b"\n"):
            yield line
            continue
        while (rest := file.readline(longest)) and not rest.endswith(b"\n"):
            pass
        yield None


def _parse(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{place}: not valid JSON ({error}); restore or delete the line") from error
    if not isinstance(row, dict):
        raise UserError(f"{place}: a line holds one JSON object, this is {type(row).__name__}")
    return row


def _document(row: Mapping[str, Any], chosen: Mapping[str, str], place: str, limits: Limits) -> RawFile:
    content, repository, path, language, licence = (row.get(name) if name else None for name in chosen.values())
    if not isinstance(content, str | None):
        raise UserError(f"{place}: {chosen['content']} is {type(content).__name__}, not text; restore or delete the row")
    text = _STARCODER_HEADER.sub("", content or "", count=1)
    size = len(text.encode("utf-8", "replace"))
    dropped = "too_large" if size > limits.max_file_bytes else ""
    if not all(is_text(str(value)) for value in (text, repository, path, language, licence)):
        dropped = "encoding"  # JSON can spell half a character, which no file can hold
        repository, path, language, licence = None, None, None, None
    named = licence[0] if isinstance(licence, list) and licence else licence
    return RawFile(
        repository=str(repository or f"{place.partition('#')[0]}"),
        path=str(path or ""),
        licence=licences.normalise(named) if isinstance(named, str) else "",
        provenance=place,
        data="" if dropped else text,
        language=str(language or ""),
        dropped=dropped,
        size=size,
    )


def _require(chosen: Mapping[str, str], place: str, names: list[str]) -> None:
    if not chosen["content"]:
        raise UserError(f"{place}no column content (or text, code); it has {', '.join(names)}")


def _damaged(path: str, error: Exception) -> UserError:
    return UserError(f"{path}: damaged ({str(error).splitlines()[0]}); fetch it again or take it out of corpus.sources")
