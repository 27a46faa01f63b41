"""megatron-core reads ours, we read theirs, and the bytes are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_snow.datasets import IndexedDataset, IndexedWriter, token_dtype, tokenize_texts
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


@pytest.mark.parametrize("append_eod", [False, True])
def test_plain_texts_as_their_tool_writes_them(
    code_documents: list[dict[str, Any]], code_tokenizer: Path, tmp_path: Path, append_eod: bool
) -> None:
    """The loop of Megatron-LM's tools/preprocess_data.py on the same ids: one document a text, an empty one gets no end."""
    tokenizer = load_tokenizer(code_tokenizer)
    texts = ["", *(document["content"] for document in code_documents[:80]), ""]
    source = tmp_path / "code.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    tokenize_texts([source], code_tokenizer, tmp_path / "code", append_eod=append_eod, workers=2)
    builder = theirs.IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=np.uint16)
    for text in texts:
        ids = tokenizer.encode(text)
        ids += [tokenizer.eod] if append_eod and ids else []
        builder.add_document(np.array(ids, np.int64), [len(ids)] if ids else [])
    builder.finalize(str(tmp_path / "theirs.idx"))
    for suffix in ("bin", "idx"):
        assert (tmp_path / f"code_text_document.{suffix}").read_bytes() == (tmp_path / f"theirs.{suffix}").read_bytes()


def test_sentences_of_one_document_stay_together(tmp_path: Path) -> None:
    """Theirs may hold several sequences a document: the document is what we keep in one piece."""
    builder = theirs.IndexedDatasetBuilder(str(tmp_path / "x.bin"), dtype=np.int32)
    builder.add_document(np.array([1, 2, 3, 4, 5]), [2, 3])
    builder.add_document(np.array([6]), [1])
    builder.finalize(str(tmp_path / "x.idx"))
    dataset = IndexedDataset(tmp_path / "x")
    assert len(dataset) == 3
    assert dataset.document_ends.tolist() == [5, 6]
