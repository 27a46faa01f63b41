"""Encoding loses nothing; bad files are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers import Tokenizer, load_tokenizer

_SPACES = st.text(" \t\n\r\u2581\u00a0\u3000\x00\x85ab0", max_size=60)


@pytest.fixture(scope="module")
def tokenizer(code_tokenizer: Path) -> Tokenizer:
    return load_tokenizer(code_tokenizer, 1024)


@given(text=st.one_of(st.text(max_size=200), _SPACES))
def test_round_trip_of_any_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(0 <= token < tokenizer.vocab_size for token in ids)


def test_round_trip_of_code(tokenizer: Tokenizer, code_documents: list[dict[str, Any]]) -> None:
    texts = [document["content"] for document in code_documents]
    ids, ends = tokenizer.encode_batch(texts)
    assert (ids.dtype, ends.dtype, len(ends)) == (np.int32, np.int64, len(texts))
    for text, part in zip(texts, np.split(ids, ends[:-1])):
        assert tokenizer.decode(part) == text
        assert np.array_equal(tokenizer.encode_array(text), part)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.model: no such tokenizer model; train one"):
        load_tokenizer(tmp_path / "none.model")


@pytest.mark.parametrize("content", [b"", b"import os\n", b"\x00" * 1000])
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"tokenizer\.model: not a SentencePiece model"):
        load_tokenizer(path)


def test_a_model_cut_in_half(tmp_path: Path, code_tokenizer: Path) -> None:
    path = tmp_path / "tokenizer.model"
    whole = code_tokenizer.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"tokenizer\.model: "):
        load_tokenizer(path, 1024)


def test_another_vocabulary_size(code_tokenizer: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.model: 1024 pieces, but tokenizer\.vocab_size is 8192; set it to 1024"):
        load_tokenizer(code_tokenizer, 8192)
