"""JSONL out is what JSONL in reads: the same documents both ways, from any stage."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from megatron_snow.config import Corpus
from megatron_snow.corpus.export import export_json_lines
from megatron_snow.corpus.stages import filter_documents
from megatron_snow.pipeline import read_documents, read_table, shards_in, write_table

TEXTS = ("print('a')\n" * 20, '# naïve\u2028 café \\ " \t 𝒳 words\nxyz = 1\n' * 20)


def test_documents_survive_the_way_to_json_lines_and_back(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(tmp_path / "in" / "s.parquet", *({"content": text, "stars": 3} for text in TEXTS))
    filter_documents(Corpus(), [shard], tmp_path / "a")
    export_json_lines(tmp_path / "a")
    lines = tmp_path / "a" / "jsonl" / "s.jsonl.zst"
    filter_documents(Corpus(), [lines], tmp_path / "b")
    before, after = (read_table(shards_in(tmp_path / name)[0]) for name in "ab")
    assert before.num_rows == 2
    assert after.equals(before)


def test_a_finished_export_is_not_made_again(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    write_shard(tmp_path / "s.parquet", {"content": "x = 1\n"})
    first = export_json_lines(tmp_path)
    time = (tmp_path / "jsonl" / "s.jsonl.zst").stat().st_mtime_ns
    assert export_json_lines(tmp_path) == first
    assert (tmp_path / "jsonl" / "s.jsonl.zst").stat().st_mtime_ns == time


def test_columns_that_json_has_no_type_for(tmp_path: Path) -> None:
    day = datetime(2024, 5, 6, 7, 8, 9)
    row = {"content": "x = 1\n", "visited": day, "score": float("nan"), "blob": b"\xff\x00", "price": Decimal("1.50"), "links": [day]}
    write_table(pa.Table.from_pylist([row]), tmp_path / "s.parquet")
    export_json_lines(tmp_path)
    (back,) = read_documents(tmp_path / "jsonl" / "s.jsonl.zst")
    assert back["visited"] == "2024-05-06T07:08:09"
    assert (back["blob"], back["price"], back["links"]) == ("ff00", "1.50", ["2024-05-06T07:08:09"])
    assert "score" not in back
