"""The search for needles: equal in both forms, and to a plain one."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_snow.common.native import load_native
from megatron_snow.corpus.decontamination import index as index_module
from megatron_snow.corpus.decontamination import words as words_module
from megatron_snow.corpus.decontamination.index import Index
from megatron_snow.corpus.decontamination.needles import Needle
from megatron_snow.corpus.decontamination.words import lower, lower_table, words_of
from megatron_snow.pipeline import texts_of

WORDS = ["alpha", "beta", "gamma", "delta", "x", "y", "z", "7", "8", "tau", "phi"]


def index_for(*texts: str, ngram: int = 10) -> Index:
    return Index([Needle("b", f"t/{number}", "solution", text) for number, text in enumerate(texts)], ngram)


TEXT = st.text(
    st.one_of(st.sampled_from("abAB_1 \n.,éÉ中İΣσς\u00b2\U0001d7d8\u2028"), st.characters(exclude_categories=("Cs",))), max_size=120
)


@pytest.fixture(scope="module", autouse=True)
def _table() -> None:
    lower_table()  # 0.3 s, over hypothesis' deadline


def in_python(function: object, *arguments: object) -> object:
    with pytest.MonkeyPatch.context() as patch:
        for module in (index_module, words_module):
            patch.setattr(module, "load_native", lambda: (None, "switched off"))
        return function(*arguments)


def _needs_native() -> None:
    library, reason = load_native()
    if library is None:
        pytest.skip(reason)


@given(TEXT)
def test_words_are_equal_in_both_forms(text: str) -> None:
    _needs_native()
    for ours, theirs in zip(words_of(text), in_python(words_of, text)):
        np.testing.assert_array_equal(ours, theirs)
    assert len(words_of(text).hashes) == len(re.findall(r"\w+", text))


def test_lower_is_that_of_strings_but_for_two() -> None:
    differ = {chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000 and lower(chr(code)) != chr(code).lower()}
    assert differ == {"İ"}
    assert lower("ΟΔΟΣ") == "οδοσ" != "ΟΔΟΣ".lower()


@given(st.lists(st.lists(st.sampled_from(["Ab", "ab", "É", "é", "中", "x", "1", "cd", "ef", "gh"]), max_size=14), max_size=5), st.data())
def test_search_is_equal_in_both_forms_and_to_a_plain_one(needles: list[list[str]], data: st.DataObject) -> None:
    _needs_native()
    ngram = data.draw(st.integers(1, 4))
    texts = data.draw(
        st.lists(st.lists(st.sampled_from(["AB", "é", "中", "x", "1", "CD", "ef", "gh"]), max_size=40).map(" ".join), max_size=4)
    )
    index = Index([Needle("b", str(k), "test", " ".join(words)) for k, words in enumerate(needles)], ngram)
    column = texts_of(pa.array(texts, pa.large_string()))
    hits = index.search(column)
    np.testing.assert_array_equal(hits, in_python(index.search, column))
    assert {(int(hit["text"]), int(hit["needle"])) for hit in hits} == plain_search(index, texts)


def plain_search(index: Index, texts: Sequence[str]) -> set[tuple[int, int]]:
    """The same from the words that the index holds, by comparing lists."""
    runs, found = index.runs, set()
    for number, text in enumerate(texts):
        words = [lower(word) for word in re.findall(r"\w+", text)]
        for run in range(len(runs.keys)):
            codes = runs.codes[runs.code_starts[run] :][: runs.code_counts[run]].tobytes().decode("utf-32-le")
            wanted = codes.split("\0")[:-1]
            if any(words[k : k + len(wanted)] == wanted for k in range(len(words))):
                found |= {(number, int(needle)) for needle in runs.postings[runs.posting_starts[run] : runs.posting_starts[run + 1]]}
    return found


def test_a_hash_that_collides_finds_nothing() -> None:
    """Give a run the hash of another: the words are compared."""
    index = index_for("alpha beta gamma delta epsilon zeta")
    other = index_for("eta theta iota kappa lambda mu")
    forged = Index(index.needles, runs=index.runs._replace(keys=other.runs.keys, suffixes=other.runs.suffixes))
    assert forged.leaks("eta theta iota kappa lambda mu") == []
    assert in_python(forged.leaks, "eta theta iota kappa lambda mu") == []
    assert len(other.leaks("eta theta iota kappa lambda mu")) == 1


def test_saved_index_is_the_same(tmp_path: Path) -> None:
    index = index_for(" ".join(WORDS), "return x + y")
    index.save(tmp_path / "runs.npz")
    loaded = Index.load(tmp_path / "runs.npz", index.needles)
    assert loaded.reasons == index.reasons == ["", "known"]
    assert loaded.leaks(" ".join(WORDS)) == index.leaks(" ".join(WORDS))


def test_more_hits_than_room_are_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten needles in 20,000 texts: three times what one call has room for."""
    _needs_native()
    texts = [f"word{k}a word{k}b word{k}c word{k}d word{k}e word{k}f" for k in range(10)]
    index = index_for(*texts)
    hits = index.search(texts_of(pa.array([" ".join(texts)] * 20_000, pa.large_string())))
    assert len(hits) == 200_000
    assert math.prod(np.unique(hits["needle"], return_counts=True)[1].tolist()) == 20_000**10


def test_null_and_empty_texts() -> None:
    index = index_for(" ".join(WORDS))
    assert len(index.search(texts_of(pa.array([None, "", " ".join(WORDS)], pa.large_string())))) == 1
    assert len(index.search(texts_of(pa.array([], pa.string())))) == 0
    assert len(index_for().search(texts_of(pa.array(["x"])))) == 0
