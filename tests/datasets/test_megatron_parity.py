"""megatron-core reads ours, we read theirs, and the bytes are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_snow.datasets import IndexedDataset, IndexedWriter, preprocess_texts, text_columns, token_dtype, tokenize_texts
from megatron_snow.tokenizers import Tokenizer, load_tokenizer

theirs = pytest.importorskip("megatron.core.datasets.indexed_dataset")


def _documents(code_documents: list[dict[str, Any]], tokenizer: Tokenizer) -> list[list[int]]:
    ids = [tokenizer.encode(document["content"]) for document in code_documents[:80]]
    return [*ids[:10], [], *ids[10:], []]  # empty documents leave marks in Megatron's index


@pytest.mark.parametrize("vocab_size", [1024, 128_256])
def test_both_ways(code_documents: list[dict[str, Any]], code_tokenizer: Path, tmp_path: Path, vocab_size: int) -> None:
    documents = _documents(code_documents, load_tokenizer(code_tokenizer))
    dtype = token_dtype(vocab_size)
    assert dtype == theirs.DType.optimal_dtype(vocab_size)
    with IndexedWriter(tmp_path / "ours", dtype) as writer:
        builder = theirs.IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=dtype.type)
        for document in documents:
            writer.append(document)
            writer.end_document()
            builder.add_document(np.array(document, np.int64), [len(document)] if document else [])
        builder.finalize(str(tmp_path / "theirs.idx"))
    for suffix in ("bin", "idx"):
        assert (tmp_path / f"ours.{suffix}").read_bytes() == (tmp_path / f"theirs.{suffix}").read_bytes()

    read_by_them, read_by_us = theirs.IndexedDataset(str(tmp_path / "ours")), IndexedDataset(tmp_path / "theirs")
    assert len(read_by_them) == len(read_by_us) == len([document for document in documents if document])
    assert np.array_equal(read_by_them.document_indices, read_by_us.document_indices)
    for i in range(len(read_by_us)):
        assert np.array_equal(read_by_them[i], read_by_us[i])


def _their_tool(lines: list[str], tokenizer: Tokenizer, prefix: Path, keys: list[str], append_eod: bool, dtype: type[np.integer]) -> None:
    """Encoder.encode and the loop of process_json_file in Megatron-LM's tools/preprocess_data.py."""
    builders = {key: theirs.IndexedDatasetBuilder(f"{prefix}_{key}_document.bin", dtype=dtype) for key in keys}
    for line in lines:
        data = json.loads(line)
        for key in keys:
            sentences = data[key] if isinstance(data[key], list) else [data[key]]
            encoded = [ids for ids in map(tokenizer.encode, sentences) if ids]
            if encoded and append_eod:
                encoded[-1] = [*encoded[-1], tokenizer.eod]
            builders[key].add_document([token for ids in encoded for token in ids], [len(ids) for ids in encoded])
    for key in keys:
        builders[key].finalize(f"{prefix}_{key}_document.idx")


@pytest.mark.parametrize("append_eod", [False, True])
@pytest.mark.parametrize("vocab_size", [1024, 128_256])
def test_texts_as_their_tool_writes_them(
    code_documents: list[dict[str, Any]], code_tokenizer: Path, tmp_path: Path, append_eod: bool, vocab_size: int, monkeypatch: Any
) -> None:
    """Two keys, one of them with lists of sentences, empty documents, ids of 16 and 32 bits."""
    monkeypatch.setattr(preprocess_texts, "token_dtype", lambda _: token_dtype(vocab_size))
    monkeypatch.setattr(text_columns, "_SMALLEST_PIECE", 40_000)
    texts = ["", *(document["content"] for document in code_documents[:80]), ""]
    lines = [json.dumps({"text": text, "lines": text.splitlines(keepends=True)[:9]}) for text in texts]
    (tmp_path / "code.jsonl").write_text("\n".join(lines) + "\n")
    keys, tokenizer = ["text", "lines"], load_tokenizer(code_tokenizer)
    tokenize_texts([tmp_path / "code.jsonl"], code_tokenizer, tmp_path / "ours", keys=keys, append_eod=append_eod)
    _their_tool(lines, tokenizer, tmp_path / "theirs", keys, append_eod, token_dtype(vocab_size).type)
    for suffix in ("text_document.bin", "text_document.idx", "lines_document.bin", "lines_document.idx"):
        assert (tmp_path / f"ours_{suffix}").read_bytes() == (tmp_path / f"theirs_{suffix}").read_bytes()
    read_by_them = theirs.IndexedDataset(str(tmp_path / "ours_text_document"))
    assert tokenizer.decode(read_by_them[3]) == texts[4]


def test_sentences_of_one_document_stay_together(tmp_path: Path) -> None:
    """Theirs may hold several sequences a document: the document is what we keep in one piece."""
    builder = theirs.IndexedDatasetBuilder(str(tmp_path / "x.bin"), dtype=np.int32)
    builder.add_document(np.array([1, 2, 3, 4, 5]), [2, 3])
    builder.add_document(np.array([6]), [1])
    builder.finalize(str(tmp_path / "x.idx"))
    dataset = IndexedDataset(tmp_path / "x")
    assert len(dataset) == 3
    assert dataset.document_ends.tolist() == [5, 6]
