"""Texts and languages of the files that tokenizers are trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.datasets.texts import texts_by_language

ROWS: list[dict[str, Any]] = [{"text": "a\n", "language": "C"}, {"text": "é", "stars": 3}, {"text": "", "language": None}]


def pairs(path: Path, key: str = "text") -> list[tuple[str, str]]:
    return [pair for languages, texts in texts_by_language(path, key) for pair in zip(languages.to_pylist(), texts.to_pylist())]


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".json.zst"])
def test_json_lines(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"code{ending}"
    compression = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
    with pa.output_stream(str(path), compression=compression) as file:
        file.write("".join(json.dumps(row) + "\n\n" for row in ROWS).encode())
    assert pairs(path) == [("C", "a\n"), ("", "é"), ("", "")]


def test_a_shard(grouped_shards: Path, code_documents: list[dict[str, Any]]) -> None:
    expected = sorted((row["language"], row["content"]) for row in code_documents)
    assert sorted(pair for path in grouped_shards.glob("*.parquet") for pair in pairs(path, "not used")) == expected


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.jsonl",
            b'{"text": "x"}\n{"code": "y"}\n',
            r"the line at byte 14 has no text under the key 'text' \(there is: code\).*--json-key$",
        ),
        ("a.jsonl", b'{"text": ["x", "y"]}\n', r"'text' is list<.*>, not one text; name another with --json-key$"),
        ("a.jsonl.gz", b"\x1f\x8b no gzip", r"a\.jsonl\.gz: damaged"),
        ("a.txt", b"x", r"a\.txt: neither Parquet nor JSONL"),
        ("a.parquet", b"x", r"a\.parquet: "),
    ],
)
def test_what_it_refuses(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        pairs(tmp_path / name)


def test_a_shard_without_a_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"name": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: .*content"):
        pairs(tmp_path / "a.parquet")
