"""fastokens beside Hugging Face's tokenizers, in the forms of pre-tokenizer that published vocabularies have."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, trainers
from tokenizers import pre_tokenizers as pre

from megatron_snow.tokenizers import Tokenizer, load_tokenizer, train_sentencepiece, write_huggingface_tokenizer
from megatron_snow.tokenizers.byte_level_files import CODE_SPLIT
from megatron_snow.tokenizers.engines import choose_engine, fast_tokens
from megatron_snow.tokenizers.engines.parity import first_difference

CODE = [path.read_text(encoding="utf-8") for path in sorted(Path(random.__file__).parent.glob("*.py"))][:60]


def byte_level(*, use_regex: bool) -> Any:
    return pre.ByteLevel(add_prefix_space=False, use_regex=use_regex)


STYLES = {
    "code": pre.Sequence([pre.Split(tokenizers.Regex(CODE_SPLIT), "isolated"), byte_level(use_regex=False)]),
    "gpt2": byte_level(use_regex=True),
    "starcoder": pre.Sequence([pre.Digits(individual_digits=True), byte_level(use_regex=True)]),
}


@pytest.fixture(scope="module", params=STYLES)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = STYLES[request.param], decoders.ByteLevel()
    alphabet = pre.ByteLevel.alphabet()
    special = ["<|endoftext|>", "<file_sep>"]
    trainer = trainers.BpeTrainer(vocab_size=2000, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(CODE[::2], trainer)
    path = tmp_path_factory.mktemp(request.param) / "tokenizer.json"
    backend.save(str(path))
    return load_tokenizer(path, engine="reference")


def test_it_is_chosen(tokenizer: Tokenizer) -> None:
    choose_engine(tokenizer)
    assert tokenizer.engine == "fastokens", tokenizer.engine_reason
    ids, ends = tokenizer.encode_batch(CODE)
    assert ids.tolist() == [token for text in CODE for token in tokenizer.encode(text)]
    assert len(ends) == len(CODE)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=("Cs", "Cn")) | st.sampled_from("ab' \t\n\r=01²"), max_size=60), max_size=4))
def test_any_text(tokenizer: Tokenizer, texts: list[str]) -> None:
    assert first_difference(tokenizer, fast_tokens.encoder_of(tokenizer), texts) is None


def test_digits_and_blanks(tokenizer: Tokenizer) -> None:
    """The one expression in place of StarCoder's two steps: every row of blanks, digits, letters and signs."""
    signs = " 1a.\n'"
    rows = [""]
    for _ in range(5):
        rows = [row + sign for row in rows for sign in signs]
    assert first_difference(tokenizer, fast_tokens.encoder_of(tokenizer), rows) is None


def test_an_exported_sentencepiece_model(tmp_path: Path) -> None:
    train_sentencepiece(CODE[::2], 2000, tmp_path / "tokenizer.model")
    write_huggingface_tokenizer(tmp_path / "tokenizer.model", tmp_path)
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json", engine="reference")
    choose_engine(tokenizer)
    assert tokenizer.engine == "fastokens", tokenizer.engine_reason
    text = "a \u2581b\u2581"
    assert tokenizer.encode_batch([text, "c"])[0].tolist() == tokenizer.encode(text) + tokenizer.encode("c")


def test_what_it_does_not_read_is_named(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = json.loads(tokenizer.json)  # type: ignore[attr-defined]
    monkeypatch.setattr(tokenizer, "json", json.dumps({**tree, "pre_tokenizer": {"type": "Unheard"}}), raising=False)
    choose_engine(tokenizer)
    assert tokenizer.engine == "reference"
    assert tokenizer.engine_reason.startswith("bpe: not a SentencePiece model; fastokens: ")
