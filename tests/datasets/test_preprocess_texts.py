"""Plain texts to one dataset: kinds of input, keys, atomic output, messages."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.datasets import IndexedDataset, tokenize_texts
from megatron_snow.pipeline import shards_in
from megatron_snow.tokenizers import load_tokenizer


def _jsonl(documents: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps({"text": document["content"], "name": document["path"]}) + "\n" for document in documents).encode()


def test_kinds_of_input_and_workers_give_the_same_bytes(
    code_documents: list[dict[str, Any]], code_tokenizer: Path, grouped_shards: Path, tmp_path: Path
) -> None:
    python = [document for document in code_documents if document["language"] == "Python"]
    (tmp_path / "a.jsonl").write_bytes(_jsonl(python[:50]) + b"\n" + _jsonl(python[50:]))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(_jsonl(python)))
    shards = [shard for shard in shards_in(grouped_shards) if shard.name.startswith("Python")]
    runs = {
        "plain": tokenize_texts([tmp_path / "a.jsonl"], code_tokenizer, tmp_path / "plain", keys=["text"], append_eod=True),
        "gzip": tokenize_texts([tmp_path / "b.jsonl.gz"], code_tokenizer, tmp_path / "gzip", keys=["text"], append_eod=True, workers=2),
        "parquet": tokenize_texts(shards, code_tokenizer, tmp_path / "parquet", keys=["content"], append_eod=True),
    }
    assert runs["plain"] == runs["gzip"] == runs["parquet"]
    assert runs["plain"]["documents"] == len(python)
    for suffix in ("bin", "idx"):
        plain = (tmp_path / f"plain_text_document.{suffix}").read_bytes()
        assert plain == (tmp_path / f"gzip_text_document.{suffix}").read_bytes()
        assert plain == (tmp_path / f"parquet_content_document.{suffix}").read_bytes()


def test_a_dataset_a_key(code_documents: list[dict[str, Any]], code_tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(_jsonl(code_documents[:20]))
    tokenize_texts([tmp_path / "a.jsonl"], code_tokenizer, tmp_path / "out" / "x", keys=["text", "name"])
    names, tokenizer = IndexedDataset(tmp_path / "out" / "x_name_document"), load_tokenizer(code_tokenizer)
    assert [tokenizer.decode(names[i].tolist()) for i in range(20)] == [document["path"] for document in code_documents[:20]]
    assert len(IndexedDataset(tmp_path / "out" / "x_text_document").document_indices) == 21
    assert len(list((tmp_path / "out").iterdir())) == 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', r"a\.jsonl:2: not valid JSON"),
        ("a.jsonl", b'{"text": "\xff"}\n', r"a\.jsonl:1: not valid JSON"),
        ("a.jsonl", b'{"content": "x"}\n', r"a\.jsonl:1: no text under the key 'text' \(there is: content\)"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl:1: no text under the key 'text' \(there is: list\)"),
        ("a.jsonl", b'{"text": null}\n', r"a\.jsonl:1: no text under the key 'text'"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', r"a\.jsonl:1: 'text' holds half of a surrogate pair"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 99)[:-12], r"a\.jsonl\.gz: damaged gzip"),
        ("a.jsonl.gz", b'{"text": "x"}\n', r"a\.jsonl\.gz: damaged gzip"),
        ("a.parquet", b"PAR1 no", r"a\.parquet: damaged shard"),
        ("a.txt", b"x", r"a\.txt: neither Parquet nor JSONL"),
    ],
)
def test_bad_input_leaves_what_was_there(code_tokenizer: Path, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    old = tmp_path / "x_text_document.idx"
    old.write_bytes(b"old")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        tokenize_texts([tmp_path / name], code_tokenizer, tmp_path / "x")
    assert {path.name for path in tmp_path.iterdir()} == {name, old.name}
    assert old.read_bytes() == b"old"
