"""Both kinds: encoding loses nothing, no text gives a special token, ids of others are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers import END_OF_DOCUMENT, FIM_PREFIX, SPECIAL_TOKENS, Tokenizer, load_tokenizer

_SPACES = st.text(" \t\n\r\u2581\u00a0\u3000\x00\x85ab0", max_size=60)
_SPELLED = st.lists(st.sampled_from([*SPECIAL_TOKENS, "<unk>", "<0x41>", "\u2581", " ", "<", "é", "x"]), max_size=12).map("".join)
_ANY_TEXT = st.one_of(st.text(max_size=200), _SPACES, _SPELLED)
_ANY_BYTES = st.one_of(
    st.binary(max_size=100), st.lists(st.sampled_from([b"\xff", b"\xed\xa0\x80", b"\xc3", b"a", " é▁".encode()])).map(b"".join)
)


@pytest.fixture(scope="module", params=["code_tokenizer", "byte_level_code_tokenizer"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return load_tokenizer(request.getfixturevalue(request.param), 1024)


@given(text=_ANY_TEXT)
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert all(0 <= token < tokenizer.vocab_size for token in ids)
    assert not set(ids) & set(tokenizer.special_tokens)


@given(data=_ANY_BYTES)
def test_any_bytes_come_back(tokenizer: Tokenizer, data: bytes) -> None:
    ids = tokenizer.encode(data)
    assert tokenizer.decode_bytes(ids) == data
    assert not set(ids) & set(tokenizer.special_tokens)


@given(text=_ANY_TEXT)
def test_bytes_of_text_have_the_ids_of_the_text(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text.encode()) == tokenizer.encode(text)


@given(texts=st.lists(_ANY_TEXT, max_size=6))
@settings(deadline=None)  # the first batch chooses the engine
def test_a_batch_is_its_texts_one_after_the_other(tokenizer: Tokenizer, texts: list[str]) -> None:
    ids, ends = tokenizer.encode_batch(texts)
    assert (ids.dtype, ends.dtype, len(ends)) == (np.int32, np.int64, len(texts))
    assert [part.tolist() for part in np.split(ids, ends)][: len(texts)] == [tokenizer.encode(text) for text in texts]


def test_code_comes_back(tokenizer: Tokenizer, code_documents: list[dict[str, Any]]) -> None:
    texts = [document["content"] for document in code_documents]
    ids, ends = tokenizer.encode_batch(texts)
    for text, part in zip(texts, np.split(ids, ends[:-1])):
        assert tokenizer.decode(part) == text
        assert np.array_equal(tokenizer.encode_array(text), part)


def test_properties(tokenizer: Tokenizer) -> None:
    assert tokenizer.keeps_text
    assert tokenizer.keeps_bytes
    assert sorted(tokenizer.special_tokens.values()) == sorted(SPECIAL_TOKENS)
    assert tokenizer.eod == tokenizer.id_of(END_OF_DOCUMENT)
    assert tokenizer.file_separator == tokenizer.id_of("<file_sep>")
    assert tokenizer.decode([tokenizer.eod, *tokenizer.encode(" x"), tokenizer.id_of(FIM_PREFIX)]) == " x"


def test_a_character_cut_in_two_shows(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("\U0001f600")
    assert len(ids) > 1
    assert "\ufffd" in tokenizer.decode(ids[:-1])


def test_half_of_a_surrogate_pair_is_refused(tokenizer: Tokenizer) -> None:
    for encode in (tokenizer.encode, lambda text: tokenizer.encode_batch([text])):
        with pytest.raises(UserError, match=r"half of a surrogate pair"):
            encode("ab\ud800")


def test_ids_of_another_vocabulary_are_refused(tokenizer: Tokenizer) -> None:
    for bad in (1024, -1):
        with pytest.raises(UserError, match=rf"token {bad} is not in this vocabulary of 1024; the ids are of another tokenizer"):
            tokenizer.decode([5, bad])


def test_a_name_that_is_no_special_token(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.(model|json): no special token <pad>; use a tokenizer of tools/train_tokenizer"):
        tokenizer.id_of("<pad>")


def test_saved_and_loaded(tokenizer: Tokenizer, tmp_path: Path) -> None:
    again = load_tokenizer(tokenizer.save(tmp_path / "new"))
    assert again.digest == tokenizer.digest
    assert load_tokenizer(tmp_path / "new").path == again.path
