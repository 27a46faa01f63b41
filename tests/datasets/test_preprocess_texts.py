"""Plain texts to one dataset a key: kinds of input, any cut of the work, what is there after a run, messages."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.datasets import IndexedDataset, tokenize_texts
from megatron_snow.datasets.seals import read_seal
from megatron_snow.pipeline import Execution, shards_in
from megatron_snow.tokenizers import load_tokenizer

SUFFIXES = (".bin", ".idx")


def _jsonl(documents: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps({"text": document["content"], "name": document["path"]}) + "\n" for document in documents).encode()


def _files(prefix: Path) -> list[bytes]:
    return [Path(f"{prefix}{suffix}").read_bytes() for suffix in SUFFIXES]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are cut into pieces of 30 kB and read 10 kB at a time (in this process)."""
    monkeypatch.setattr("megatron_snow.datasets.text_columns._SMALLEST_PIECE", 30_000)
    monkeypatch.setattr("megatron_snow.datasets.text_columns._BATCH_BYTES", 10_000)


@pytest.mark.usefixtures("small_pieces")
def test_kinds_of_input_and_any_cut_give_the_same_bytes(
    code_documents: list[dict[str, Any]], code_tokenizer: Path, grouped_shards: Path, tmp_path: Path
) -> None:
    python = [document for document in code_documents if document["language"] == "Python"]
    (tmp_path / "a.jsonl").write_bytes(_jsonl(python[:50]) + b"\n" + _jsonl(python[50:]))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(_jsonl(python)))
    (tmp_path / "c.jsonl.zst").write_bytes(pa.compress(_jsonl(python[50:]), codec="zstd", asbytes=True))
    (tmp_path / "c0.json").write_bytes(_jsonl(python[:50]))
    pq.write_table(pa.Table.from_pylist([{"text": document["content"]} for document in python]), tmp_path / "d.parquet", row_group_size=7)
    shards = [shard for shard in shards_in(grouped_shards) if shard.name.startswith("Python")]
    runs = {
        "plain": ([tmp_path / "a.jsonl"], "text", Execution("pool", 2)),
        "gzip": ([tmp_path / "b.jsonl.gz"], "text", Execution("pool", 2)),  # one task, with helpers
        "several": ([tmp_path / "c0.json", tmp_path / "c.jsonl.zst"], "text", Execution("inline")),
        "parquet": ([tmp_path / "d.parquet"], "text", Execution("inline")),
        "shards": (shards, "content", Execution("inline")),
    }
    counts = {
        name: tokenize_texts(inputs, code_tokenizer, tmp_path / name, keys=[key], append_eod=True, execution=execution)
        for name, (inputs, key, execution) in runs.items()
    }
    assert counts["plain"]["documents"] == len(python)
    assert counts["plain"]["bytes"] == sum(len(document["content"].encode()) for document in python)
    assert counts["plain"]["tokens"] == IndexedDataset(tmp_path / "plain_text_document").num_tokens
    for name, (_, key, _) in runs.items():
        assert counts[name] == counts["plain"]
        assert _files(tmp_path / f"{name}_{key}_document") == _files(tmp_path / "plain_text_document")
    assert not list(tmp_path.glob("*.parts"))


def test_a_dataset_a_key(code_documents: list[dict[str, Any]], code_tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(_jsonl(code_documents[:20]))
    tokenize_texts([tmp_path / "a.jsonl"], code_tokenizer, tmp_path / "out" / "x", keys=["text", "name"])
    names, tokenizer = IndexedDataset(tmp_path / "out" / "x_name_document"), load_tokenizer(code_tokenizer)
    assert [tokenizer.decode(names[i].tolist()) for i in range(20)] == [document["path"] for document in code_documents[:20]]
    assert len(IndexedDataset(tmp_path / "out" / "x_text_document").document_indices) == 21
    endings = {path.name.partition(".")[2] for path in (tmp_path / "out").iterdir()}
    assert endings == {"bin", "idx", "seal.json", "record.json"}
    assert read_seal(tmp_path / "out" / "x_text_document") is not None


def test_lists_of_texts_are_sequences_of_a_document(code_tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": ["a b", "", "c"]}\n{"text": []}\n{"text": ["", "d", ""]}\n{"text": [""]}\n')
    tokenize_texts([tmp_path / "a.jsonl"], code_tokenizer, tmp_path / "x", append_eod=True)
    dataset, tokenizer = IndexedDataset(tmp_path / "x_text_document"), load_tokenizer(code_tokenizer)
    assert dataset.document_indices.tolist() == [0, 2, 2, 3, 3]
    assert [dataset[i].tolist() for i in range(3)] == [
        tokenizer.encode("a b"),
        [*tokenizer.encode("c"), tokenizer.eod],
        [*tokenizer.encode("d"), tokenizer.eod],
    ]


def test_the_same_again_is_not_made_again(code_documents: list[dict[str, Any]], code_tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(_jsonl(code_documents[:20]))
    counts = tokenize_texts([tmp_path / "a.jsonl"], code_tokenizer, tmp_path / "x")
    tokens = tmp_path / "x_text_document.bin"
    before, content = tokens.stat(), tokens.read_bytes()
    assert tokenize_texts([tmp_path / "a.jsonl"], code_tokenizer, tmp_path / "x", execution=Execution("pool", 2)) == counts
    assert tokens.stat().st_mtime_ns == before.st_mtime_ns
    tokens.write_bytes(content[:-2])  # it is when a file is not what the record says
    tokenize_texts([tmp_path / "a.jsonl"], code_tokenizer, tmp_path / "x")
    assert tokens.read_bytes() == content
    with_ends = tokenize_texts([tmp_path / "a.jsonl"], code_tokenizer, tmp_path / "x", append_eod=True)
    assert with_ends["tokens"] == counts["tokens"] + 20


@pytest.mark.parametrize("text", ["", "\n", '{"text": ""}\n{"text": ""}\n'])
def test_without_a_token(code_tokenizer: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    assert tokenize_texts([tmp_path / "a.jsonl"], code_tokenizer, tmp_path / "x", append_eod=True)["tokens"] == 0
    assert IndexedDataset(tmp_path / "x_text_document").document_indices.tolist() == [0] * (1 + text.count("text"))


def test_other_keys_may_hold_anything(code_tokenizer: Path, tmp_path: Path) -> None:
    lines = ['{"id": 1, "text": "a", "when": "2020-01-01"}', '{"id": "b", "text": "b", "meta": {"deep": ' + "[" * 5000 + "]" * 5000 + "}}"]
    lines += ['{"id": null, "more": [1, "x"], "text": "nul \\u0000, pair \\ud83d\\ude00, slash \\/"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    tokenize_texts([tmp_path / "a.jsonl"], code_tokenizer, tmp_path / "x")
    dataset, tokenizer = IndexedDataset(tmp_path / "x_text_document"), load_tokenizer(code_tokenizer)
    assert [tokenizer.decode(dataset[i].tolist()) for i in range(3)] == ["a", "b", "nul \0, pair \U0001f600, slash /"]


GOOD = b'{"text": "x"}\n'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", GOOD + b'{"text": \n', r"a\.jsonl: the line at byte 14 is not valid JSON"),
        ("a.jsonl", b'{"text": "\xff"}\n', r"a\.jsonl: the line at byte 0 is not UTF-8"),
        ("a.jsonl", b'{"content": "x"}\n', r"a\.jsonl: the line at byte 0 has no text under the key 'text' \(there is: content\)"),
        ("a.jsonl", GOOD + b'{"b": 1, "c": 2}\n', r"the line at byte 14 has no text under the key 'text' \(there is: b, c\); name the key"),
        ("a.jsonl", GOOD + b"[1]\n", r"the line at byte 14 has no text under the key 'text' \(there is: list\)"),
        ("a.jsonl", GOOD + b'{"text": null}\n', r"the line at byte 14 has no text under the key 'text'"),
        ("a.jsonl", GOOD + b'{"text": 5}\n', r"the line at byte 14 has no text under the key 'text'"),
        ("a.jsonl", b'{"text": ["x", null]}\n', r"the line at byte 0 has no text under the key 'text'"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', r"a\.jsonl: the line at byte 0 has half of a surrogate pair"),
        ("a.jsonl.gz", gzip.compress(GOOD * 99)[:-12], r"a\.jsonl\.gz: damaged"),
        ("a.jsonl.gz", GOOD, r"a\.jsonl\.gz: damaged"),
        ("a.jsonl.gz", b"", r"a\.jsonl\.gz: damaged"),
        ("a.jsonl.gz", gzip.compress(GOOD + b"{}"), r"a\.jsonl\.gz: the line at byte 14 has no text"),
        ("a.jsonl.zst", pa.compress(GOOD * 99, codec="zstd", asbytes=True)[:-2], r"a\.jsonl\.zst: damaged"),
        ("a.parquet", b"PAR1 no", r"a\.parquet: damaged"),
        ("a.txt", b"x", r"a\.txt: neither Parquet nor JSONL"),
    ],
)
def test_bad_input_leaves_what_was_there(code_tokenizer: Path, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    old = tmp_path / "x_text_document.idx"
    old.write_bytes(b"old")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        tokenize_texts([tmp_path / name], code_tokenizer, tmp_path / "x")
    assert {path.name for path in tmp_path.iterdir()} - {"x.parts"} == {name, old.name}  # finished pieces wait there
    assert old.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("columns", "keys", "message"),
    [
        ({"content": ["x"]}, ["text"], r"a\.parquet: no column 'text' \(there is: content\)"),
        ({"text": ["x"]}, ["content"], r"a\.parquet: no column 'content' \(there is: text\)"),  # aliases are for the corpus
        ({"text": ["x", "y", None]}, ["text"], r"a\.parquet: row 2 has no text in the column 'text'"),
        ({"text": [["x"], ["y"], ["x", None]]}, ["text"], r"a\.parquet: row 2 has no text in the column 'text'"),
        ({"text": [1]}, ["text"], r"a\.parquet: 'text' is int64, not text"),
        ({"text": ["x"]}, ["text", "text"], r"--json-keys text text: .* each once"),
        ({"a/b": ["x"]}, ["a/b"], r"--json-keys a/b: .* without '/'"),
    ],
)
def test_parquet_without_text(code_tokenizer: Path, tmp_path: Path, columns: dict[str, Any], keys: list[str], message: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=1)
    with pytest.raises(UserError, match=message):
        tokenize_texts([tmp_path / "a.parquet"], code_tokenizer, tmp_path / "x", keys=keys)


def test_kinds_of_text_columns(code_tokenizer: Path, tmp_path: Path) -> None:
    for name, kind in (("large", pa.large_string()), ("dictionary", pa.dictionary(pa.int32(), pa.string())), ("plain", pa.string())):
        pq.write_table(pa.table({"text": pa.array(["x = 1", "", "x = 1"]).cast(kind)}), tmp_path / f"{name}.parquet")
        tokenize_texts([tmp_path / f"{name}.parquet"], code_tokenizer, tmp_path / name)
    assert _files(tmp_path / "large_text_document") == _files(tmp_path / "plain_text_document")
    assert _files(tmp_path / "dictionary_text_document") == _files(tmp_path / "plain_text_document")
