"""Texts and their languages: what tokenizers are trained on and compared by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from megatron_snow.common.errors import UserError
from megatron_snow.datasets.text_columns import check_kind, is_parquet, json_tables
from megatron_snow.pipeline import batches_of

_FLAG = "--json-key"


def texts_by_language(path: Path, key: str) -> Iterator[tuple[pa.ChunkedArray, pa.ChunkedArray]]:
    """(languages, texts) of some documents at a time: of a shard, or of JSONL with a text under `key`, and a language beside it or none.

    UserError that says where a text is missing or the file is damaged.
    """
    check_kind(path)
    column = "content" if is_parquet(path) else key
    tables = batches_of(path, [column, "language"]) if is_parquet(path) else json_tables(path, [key], None, _FLAG, ["language"])
    for table in tables:
        if pa.types.is_list(table[column].type):
            raise UserError(f"{path}: {column!r} is {table[column].type}, not one text; name another with {_FLAG}")
        yield pc.fill_null(table["language"], ""), pc.fill_null(table[column], "")
