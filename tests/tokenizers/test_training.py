"""Training: exact size, the same bytes again, what code needs is learnt, clear refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers import SPECIAL_TOKENS, load_tokenizer, train_sentencepiece


def test_same_texts_same_bytes(code_documents: list[dict[str, Any]], tmp_path: Path) -> None:
    texts = [document["content"] for document in code_documents[:60]]
    for name in ("first", "second"):
        train_sentencepiece(texts, 700, tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert load_tokenizer(tmp_path / "first").vocab_size == 700


def test_special_tokens_are_distinct_and_cannot_be_spelled(code_tokenizer: Path) -> None:
    tokenizer = load_tokenizer(code_tokenizer)
    ids = {tokenizer.id_of(piece) for piece in SPECIAL_TOKENS}
    assert len(ids) == len(SPECIAL_TOKENS)
    for piece in SPECIAL_TOKENS:
        spelled = tokenizer.encode(f"x = '{piece}'\n{piece}")
        assert not ids & set(spelled)
        assert tokenizer.decode(spelled) == f"x = '{piece}'\n{piece}"


def test_indentation_and_line_ends_are_pieces(code_tokenizer: Path) -> None:
    tokenizer = load_tokenizer(code_tokenizer)
    for text in (" " * 4, " " * 8, "\t", "\t\t\t", ":\n", "\n\n"):
        assert len(tokenizer.encode(text)) == 1, repr(text)
    assert len(tokenizer.encode("2024")) == 4  # digits are split


def test_long_lines_are_not_skipped(tmp_path: Path) -> None:
    """SentencePiece drops what is over its limit in silence; one line of 60 kB is all there is here."""
    words = "alpha beta gamma delta epsilon omicron " * 1500
    train_sentencepiece([words], 340, tmp_path / "model")
    tokenizer = load_tokenizer(tmp_path / "model")
    assert len(tokenizer.encode(" omicron")) == 1


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    for texts in (["print('hello')\n"], []):
        with pytest.raises(UserError, match=r"vocab_size: 8192 pieces cannot be learnt from this text .*give more text or fewer pieces"):
            train_sentencepiece(texts, 8192, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
