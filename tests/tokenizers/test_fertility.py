"""The figures of a fertility report, counted again by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_snow.tokenizers import FertilityCounter, Tokenizer, load_tokenizer
from megatron_snow.tokenizers.fertility import byte_tokens_of


@pytest.fixture(scope="module", params=["code_tokenizer", "byte_level_code_tokenizer"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return load_tokenizer(request.getfixturevalue(request.param))


def test_counts_by_hand(tokenizer: Tokenizer) -> None:
    counter = FertilityCounter(tokenizer)
    python, prose = ["def f(x):\n    return x\n", "x = 1"], ["漢字 😀"]
    counter.add("Python", python[:1])
    counter.add("Python", python[1:])
    counter.add("Text", prose)
    report = counter.report()
    ids = [tokenizer.encode(text) for text in python]
    expected = report["languages"]["Python"]
    assert (expected["documents"], expected["bytes"], expected["lines"], expected["tokens"]) == (2, 28, 3, sum(map(len, ids)))
    assert expected["bytes_per_token"] == 28 / sum(map(len, ids))
    assert expected["tokens_per_line"] == sum(map(len, ids)) / 3
    assert expected["unused"] == tokenizer.vocab_size - len({*ids[0], *ids[1]})
    assert expected["byte_fallback_share"] == 0
    assert report["languages"]["Text"]["byte_fallback_share"] > 0.8  # all but the blank
    assert report["all"]["tokens"] == expected["tokens"] + len(tokenizer.encode(prose[0]))
    assert report["all"]["unused"] == tokenizer.vocab_size - len({*ids[0], *ids[1], *tokenizer.encode(prose[0])})
    assert list(report["languages"]) == ["Python", "Text"]  # by size
    assert report["keeps_bytes"]


def test_nothing_counted_is_no_division_by_zero(tokenizer: Tokenizer) -> None:
    counter = FertilityCounter(tokenizer)
    counter.add("Empty", [""])
    figures = counter.report()["languages"]["Empty"]
    assert (figures["lines"], figures["tokens"], figures["bytes_per_token"], figures["unused_share"]) == (0, 0, 0, 1)


def test_what_counts_as_a_byte(code_tokenizer: Path, byte_level_code_tokenizer: Path) -> None:
    """Of SentencePiece all 256 byte pieces; of byte-level those that are no character of their own."""
    model, tree = load_tokenizer(code_tokenizer), load_tokenizer(byte_level_code_tokenizer)
    assert all(byte_tokens_of(model)[token] for token in model.byte_ids)
    assert [bool(byte_tokens_of(tree)[token]) for token in tree.byte_ids] == [byte >= 0x80 for byte in range(256)]
