"""The native loops, the Python form and datasketch give the same numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

import megatron_snow.corpus.shingles as module
from megatron_snow.common.native import load_native
from megatron_snow.pipeline import Texts

TEXT = st.text(st.one_of(st.sampled_from("ab_1 \n.,é中\u00b2\U0001d7d8\u2028"), st.characters(exclude_categories=("Cs",))), max_size=200)


@pytest.fixture(scope="module", autouse=True)
def _native() -> None:
    library, reason = load_native()
    if library is None:
        pytest.skip(reason)
    module.word_hashes("")  # builds the table of word characters, over hypothesis' deadline of 200 ms


def packed(texts: list[str]) -> Texts:
    data = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, data)], dtype=np.int64)
    return Texts(np.frombuffer(b"".join(data) + b" ", np.uint8), offsets)


def in_python(function: str, *arguments: object) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_native", lambda: (None, "switched off"))
        return getattr(module, function)(*arguments)


@given(TEXT)
def test_words_are_those_of_the_regular_expression(text: str) -> None:
    hashes = module.word_hashes(text)
    words = re.findall(r"\w+", text)
    assert len(hashes) == len(words)
    assert len(set(hashes.tolist())) == len(set(words))
    np.testing.assert_array_equal(hashes, in_python("word_hashes", text))


@given(TEXT, st.integers(1, 7))
def test_shingles_are_equal_in_both_forms(text: str, n: int) -> None:
    np.testing.assert_array_equal(module.shingles(text, n), in_python("shingles", text, n))


@given(st.lists(st.integers(0, 2**64 - 1), max_size=300), st.integers(1, 70))
def test_signature_is_datasketch_bit_for_bit(values: list[int], permutations: int) -> None:
    hashes = np.array(values, np.uint64)
    sketch = MinHash(permutations, hashfunc=int)
    sketch.update_batch([value & 0xFFFFFFFF for value in values])
    np.testing.assert_array_equal(module.signature(hashes, permutations), sketch.hashvalues)
    np.testing.assert_array_equal(in_python("signature", hashes, permutations), sketch.hashvalues)


@given(st.lists(TEXT, max_size=4), st.integers(1, 6), st.sampled_from([(1, 1), (3, 2), (25, 10), (7, 11)]))
def test_keys_are_equal_in_both_forms_and_follow_the_signature(texts: list[str], n: int, shape: tuple[int, int]) -> None:
    keys, runs = module.band_keys(packed(texts), n, *shape)
    expected, counts = in_python("band_keys", packed(texts), n, *shape)
    np.testing.assert_array_equal(keys, expected)
    np.testing.assert_array_equal(runs, counts)


@given(st.lists(TEXT, min_size=1, max_size=5), st.integers(1, 6), st.data())
def test_sets_of_chosen_texts_are_their_shingles(texts: list[str], n: int, data: st.DataObject) -> None:
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, len(texts) - 1)))), np.int64)
    for hashes, ends in (module.shingle_sets(packed(texts), chosen, n), in_python("shingle_sets", packed(texts), chosen, n)):
        found = np.split(hashes, ends)[: len(chosen)]
        for number, each in zip(chosen.tolist(), found):
            np.testing.assert_array_equal(each, module.shingles(texts[number], n))


def test_texts_share_the_keys_of_bands_whose_rows_agree() -> None:
    """The same rows in two bands are no match: a key is of its band."""
    words = " ".join(f"w{number}" for number in range(400))
    texts = [words, words + " more at the end", "quite another text than that one"]
    keys, _ = module.band_keys(packed(texts), 5, 25, 10)
    rows = [module.signature(module.shingles(text, 5), 250).reshape(25, 10) for text in texts]
    agree = (rows[0] == rows[1]).all(1)
    assert agree.any()
    np.testing.assert_array_equal(keys[0] == keys[1], agree)
    assert not set(keys[0].tolist()) & set(keys[2].tolist())
    assert len(set(keys[0].tolist())) == 25


def test_words_across_blocks_of_64_bytes() -> None:
    """A word, a code point and the end of a text at every place of a block."""
    for size in range(130):
        for text in ("a" * size, "a" * size + "é", "é" * size, "." * size + "\U0001d7d8b", "中." * size, "ab " * size):
            np.testing.assert_array_equal(module.word_hashes(text), in_python("word_hashes", text))


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_jaccard_is_that_of_sets(a: set[int], b: set[int]) -> None:
    arrays = [np.array(sorted(values), np.uint64) for values in (a, b)]
    expected = len(a & b) / len(a | b) if a & b else 0.0
    assert module.jaccard(*arrays) == expected
    assert in_python("overlap", *arrays) == len(a & b)


def test_words_on_a_real_file() -> None:
    text = Path(re.__file__).read_text(encoding="utf-8")
    np.testing.assert_array_equal(module.shingles(text, 5), in_python("shingles", text, 5))


def test_short_text_is_one_shingle_and_no_word_is_none() -> None:
    assert len(module.shingles("just three words", 5)) == 1
    assert len(module.shingles("... !!", 5)) == 0
    assert module.shingles("one two", 5).tolist() != module.shingles("two one", 5).tolist()


def test_estimate_is_near_the_true_similarity() -> None:
    """250 permutations: standard error sqrt(0.5 * 0.5 / 250) = 0.032."""
    words = [f"w{number}" for number in range(3000)]
    a, b = (module.shingles(" ".join(part), 1) for part in (words[:2000], words[1000:]))
    estimate = np.mean(module.signature(a, 250) == module.signature(b, 250))
    assert abs(estimate - module.jaccard(a, b)) < 4 * 0.032
