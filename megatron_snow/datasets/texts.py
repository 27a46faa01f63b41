"""Texts from files of several kinds: JSONL, gzip of it, Parquet."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from megatron_snow.common.errors import UserError
from megatron_snow.pipeline import read_documents

_JSON_ENDINGS = (".jsonl", ".json", ".jsonl.gz", ".json.gz")


def is_parquet(path: Path) -> bool:
    """By its name."""
    return path.name.endswith(".parquet")


def read_records(path: Path, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The records of a .jsonl, .jsonl.gz or .parquet file; UserError that names the line where one lacks a key or is damaged."""
    if is_parquet(path):
        for number, record in enumerate(read_documents(path, keys), 1):
            yield _checked(record, f"{path}: row {number}", keys)
    elif path.name.endswith(_JSON_ENDINGS):
        yield from _read_json(path, keys)
    else:
        raise UserError(f"{path}: neither Parquet nor JSONL; the name must end in .parquet or one of {', '.join(_JSON_ENDINGS)}")


def _read_json(path: Path, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _parse(line, f"{path}:{number}", keys)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: damaged gzip after line {number} ({error}); restore the file") from error


def _parse(line: bytes, where: str, keys: Sequence[str]) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:  # JSON and UTF-8 errors both
        raise UserError(f"{where}: not valid JSON ({error}); restore or delete the line") from error
    return _checked(record, where, keys)


def _checked(record: Any, where: str, keys: Sequence[str]) -> dict[str, Any]:
    for key in keys:
        value = record.get(key) if isinstance(record, dict) else None
        if not isinstance(value, str):
            has = ", ".join(record) if isinstance(record, dict) else type(record).__name__
            raise UserError(f"{where}: no text under the key {key!r} (there is: {has}); name the key with --json-keys")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise UserError(f"{where}: {key!r} holds half of a surrogate pair, which is no text; mend or delete it")
    return dict(record)
