"""Vocabularies of GPT-2, StarCoder, Refact, Qwen2, DeepSeek-Coder, Llama-3 and Llama-2: the ids of their makers, and nothing lost."""

from __future__ import annotations

import sysconfig
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers import END_OF_DOCUMENT, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, Tokenizer, load_tokenizer
from tests.tokenizers.vocabularies import BYTE_LEVEL, vectors

KEEP_TEXT = ("gpt-2", "deepseek-coder", "llama-bpe", "llama-2")
KEEP_BYTES = ("gpt-2", "llama-bpe", "llama-2")
_any_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=80) | st.text(" \t\n\r\u2581\u00a0\x00\x85ab0é<|>", max_size=40)
_fuzz = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)


@pytest.fixture(scope="module")
def load(real_vocabulary: Callable[[str], Path]) -> Callable[[str], Tokenizer]:
    loaded: dict[str, Tokenizer] = {}

    def tokenizer(name: str) -> Tokenizer:
        if name not in loaded:
            loaded[name] = load_tokenizer(real_vocabulary(name))
        return loaded[name]

    return tokenizer


@pytest.fixture(scope="module")
def code() -> list[str]:
    files = [path for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")) if path.stat().st_size < 30_000]
    return [path.read_text(encoding="utf-8", errors="ignore") for path in files[::12]]


@pytest.mark.parametrize("name", BYTE_LEVEL)
def test_the_vectors_of_llama_cpp(name: str, load: Callable[[str], Tokenizer]) -> None:
    tokenizer = load(name)
    cases = vectors(name)
    assert len(cases) == 47
    assert [text for text, ids in cases if tokenizer.encode(text) != ids] == []


def test_the_vectors_of_llama_2(load: Callable[[str], Tokenizer]) -> None:
    tokenizer = load("llama-2")
    cases = vectors("llama-spm")
    assert len(cases) == 47
    assert [text for text, ids in cases if tokenizer.encode(text) != ids] == []


@pytest.mark.slow
def test_llama_2_by_either_file(load: Callable[[str], Tokenizer], code: list[str]) -> None:
    model, tree = load("llama-2"), load_tokenizer(load("llama-2").path.with_name("tokenizer.json"))
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model.path))
    assert load_tokenizer(model.path.parent).path == model.path
    for text in [*code, " x", "x", "<s></s>", "\n"]:
        assert model.encode(text) == tree.encode(text) == processor.encode(text)
    for text in ("\u2581", "a\u2581b", b"\xff\xfe", b"\xffx"):
        assert model.encode(text) == tree.encode(text)


@pytest.mark.parametrize("name", KEEP_BYTES)
@given(data=st.binary(max_size=60) | _any_text.map(str.encode))
@_fuzz
def test_any_bytes_come_back(name: str, load: Callable[[str], Tokenizer], data: bytes) -> None:
    tokenizer = load(name)
    assert tokenizer.keeps_bytes
    assert tokenizer.decode_bytes(tokenizer.encode(data)) == data


@pytest.mark.parametrize("name", KEEP_TEXT)
@given(text=_any_text)
@_fuzz
def test_any_text_comes_back(name: str, load: Callable[[str], Tokenizer], text: str) -> None:
    assert load(name).keeps_text
    assert load(name).decode(load(name).encode(text)) == text


@pytest.mark.parametrize("name", ["starcoder", "refact"])
@given(text=st.text(st.characters(exclude_categories=("Cs",)).filter(lambda letter: not 0x40000 <= ord(letter) < 0x80000), max_size=80))
@_fuzz
def test_starcoder_keeps_what_is_assigned(name: str, load: Callable[[str], Tokenizer], text: str) -> None:
    """Its vocabulary has no byte 0xF1, with which U+40000 to U+7FFFF begin: nothing is assigned there."""
    tokenizer = load(name)
    assert not tokenizer.keeps_text
    assert tokenizer.decode(tokenizer.encode(text)) == text
    with pytest.raises(UserError, match=r"this vocabulary has no byte 0xF1, so what is not UTF-8 has no ids"):
        tokenizer.encode(b"\xf1")


@given(text=_any_text)
@_fuzz
def test_qwen2_gives_the_normal_form_back(load: Callable[[str], Tokenizer], text: str) -> None:
    tokenizer = load("qwen2")
    assert not tokenizer.keeps_text
    assert tokenizer.decode(tokenizer.encode(text)) == unicodedata.normalize("NFC", text)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BYTE_LEVEL, "llama-2"])
def test_code_comes_back_and_no_text_is_a_special_token(name: str, load: Callable[[str], Tokenizer], code: list[str]) -> None:
    tokenizer = load(name)
    assert len(code) > 50
    ids, ends = tokenizer.encode_batch(code)
    for text, part in zip(code, np.split(ids, ends[:-1])):
        assert tokenizer.decode(part) == (unicodedata.normalize("NFC", text) if name == "qwen2" else text)
    names = ["<|endoftext|>", "<s>", "</s>", "<fim_prefix>", "<|im_start|>", "<|begin_of_text|>", "<｜fim▁hole｜>", "<unk>", "<reponame>"]
    special = {token for token in range(tokenizer.vocab_size) if not tokenizer.decode_bytes([token])}
    assert tokenizer.eod in special
    for text in (*names, "".join(names)):
        assert not special & set(tokenizer.encode(text))
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BYTE_LEVEL, "llama-2", "llama-2/tokenizer.json"])
def test_the_engine_has_the_references_ids(name: str, load: Callable[[str], Tokenizer]) -> None:
    """Over the whole standard library. An engine that is refused fails the test with the reason."""
    path = load("llama-2").path.with_name("tokenizer.json") if name == "llama-2/tokenizer.json" else load(name).path
    reference, fast = load_tokenizer(path, engine="reference"), load_tokenizer(path)
    assert (fast.engine, fast.engine_reason[:30]) == ("bpe" if name == "llama-2" else "fastokens", "the same ids as the reference ")
    files = sorted(path for path in Path(sysconfig.get_path("stdlib")).rglob("*.py") if "site-packages" not in path.parts)
    texts = [path.read_text(encoding="utf-8", errors="ignore") for path in files if path.stat().st_size]
    assert len(texts) > 500
    for start in range(0, len(texts), 100):
        part = texts[start : start + 100]
        ids, ends = fast.encode_batch(part)
        expected, expected_ends = reference.encode_batch(part)
        np.testing.assert_array_equal(ends, expected_ends)
        np.testing.assert_array_equal(ids, expected)


@pytest.mark.parametrize(
    ("name", "end", "size"),
    [
        ("gpt-2", "<|endoftext|>", 50257),
        ("starcoder", "<|endoftext|>", 49152),
        ("refact", "<|endoftext|>", 49216),
        ("qwen2", "<|endoftext|>", 151936),
        ("deepseek-coder", "<｜end▁of▁sentence｜>", 32256),
        ("llama-bpe", "<|end_of_text|>", 128256),
        ("llama-2", "</s>", 32000),
    ],
)
def test_end_of_document(name: str, end: str, size: int, load: Callable[[str], Tokenizer]) -> None:
    tokenizer = load(name)
    assert tokenizer.vocab_size == size
    assert tokenizer.eod == tokenizer.id_of(end) == tokenizer.id_of(END_OF_DOCUMENT)
    assert tokenizer.special_tokens[tokenizer.eod] == END_OF_DOCUMENT


@pytest.mark.parametrize("name", ["starcoder", "refact", "deepseek-coder"])
def test_fill_in_the_middle(name: str, load: Callable[[str], Tokenizer]) -> None:
    tokenizer = load(name)
    ids = [tokenizer.id_of(piece) for piece in (FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX)]
    assert len(set(ids)) == 3
    assert tokenizer.decode_bytes(ids) == b""


@pytest.mark.parametrize("name", [*BYTE_LEVEL, "llama-2"])
def test_a_saved_tokenizer_is_the_same(name: str, load: Callable[[str], Tokenizer], tmp_path: Path, code: list[str]) -> None:
    tokenizer = load(name)
    again = load_tokenizer(tokenizer.save(tmp_path))
    assert (again.digest, again.vocab_size, again.special_tokens) == (tokenizer.digest, tokenizer.vocab_size, tokenizer.special_tokens)
    assert again.encode(code[0]) == tokenizer.encode(code[0])
