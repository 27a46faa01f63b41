"""The native loops, the Python form and datasketch give the same numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

import megatron_snow.corpus.shingles as module
from megatron_snow.common.native import load_native

TEXT = st.text(st.one_of(st.sampled_from("ab_1 \n.,é中\u00b2\U0001d7d8\u2028"), st.characters(exclude_categories=("Cs",))), max_size=200)


@pytest.fixture(scope="module", autouse=True)
def _native() -> None:
    library, reason = load_native()
    if library is None:
        pytest.skip(reason)
    module.word_hashes("")  # builds the table of word characters, over hypothesis' deadline of 200 ms


def in_python(function: str, *arguments: object) -> np.ndarray:
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
