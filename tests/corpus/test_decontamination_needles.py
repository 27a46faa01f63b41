"""Which runs of words count as a leak: each rule at its boundary."""

from __future__ import annotations

import re

import pytest

from megatron_snow.corpus.decontamination.index import Index
from megatron_snow.corpus.decontamination.needles import MAX_WORDS, MIN_WORDS, Needle, imports_in, known_trivial

WORDS = ["alpha", "beta", "gamma", "delta", "x", "y", "z", "7", "8", "tau", "phi"]


def index_for(*texts: str, ngram: int = 10) -> Index:
    return Index([Needle("b", f"t/{number}", "solution", text) for number, text in enumerate(texts)], ngram)


def test_needle_boundaries() -> None:
    nine, eleven = " ".join(WORDS[:9]), " ".join(WORDS)
    index = Index([Needle("b", "short", "solution", nine), Needle("b", "long", "docstring", eleven)], 10)
    assert [leak.task for leak in index.leaks(f"q {nine} q")] == ["short"]
    assert [leak.task for leak in index.leaks("Alpha, BETA(gamma); delta.x y\nz-7 8")] == ["short"]
    assert [leak.task for leak in index.leaks("beta gamma delta x y z 7 8 tau phi")] == ["long"]  # ten of eleven words
    assert [leak.task for leak in index.leaks(" ".join(WORDS[:10]))] == ["short", "long"]
    assert index.leaks(" ".join(WORDS[:8])) == []
    assert index.leaks(" ".join(WORDS[1:9])) == []
    assert index.leaks(" ".join(WORDS[2:])) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" ".join(WORDS[: MIN_WORDS - 1]), "short"),
        ("", "short"),
        ("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]", "plain"),
        ("a, b, c, d, e, f, g, h, i, j, k", "plain"),
        ("for i in range(n) for j in range(n)", "plain"),
        ('"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6', "plain"),
        ("Monday Tuesday Wednesday Thursday Friday Saturday Sunday", "plain"),
        ("alpha beta gamma x y z", "plain"),  # three telling words
        ("return x + y", "known"),
        ("Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore", "known"),
    ],
)
def test_what_says_too_little_is_listed(text: str, reason: str) -> None:
    index = index_for(text)
    assert index.reasons == [reason]
    assert index.trivial == 1
    assert index.leaks(text) == []


def test_idioms_of_the_language_count_whole_or_not_at_all() -> None:
    pairs = "for i in range(len(l)): for j in range(i + 1, len(l)): if l[i] + l[j] == 0: return True return False"
    index = index_for(pairs)
    assert index.trivial == 0
    assert [leak.runs for leak in index.leaks(f"def f(l): {pairs}")] == [1]
    assert index.leaks(pairs.replace("return False", "return None")) == []
    assert index_for(" ".join(["for i in range(len(l))"] * (MAX_WORDS // 6 + 1))).reasons == ["plain"]  # too long to count whole


def test_one_own_word_makes_a_run_count() -> None:
    loop = "for i in range(len(l)): if l[i] in {}: return True"
    assert index_for(loop.format("l")).leaks(loop.format("l")) != []  # whole
    assert index_for(loop.format("l")).leaks(loop.format("l")[4:]) == []
    assert index_for(loop.format("prime")).leaks(loop.format("prime")[4:]) != []


def test_imports_tell_nothing() -> None:
    imports = "import numpy as np\nimport pandas as pd\nfrom matplotlib import pyplot as plt\nfrom scipy import (\n    stats, signal,\n)\n"
    assert index_for(imports).reasons == ["plain"]
    assert index_for(imports + "median household income grows\n").leaks(imports + "x\n") == []
    spans = imports_in(
        b"x = 1\n"
        + imports.encode()
        + b"import the list from a shop today\nuse the list\nimport {a} from 'b';\n#include <vector>\nuse std::io;\n"
    )
    assert len(spans) == 4 + 4  # prose that begins with import is taken for JavaScript only where it goes on "from"
    assert imports_in(b"use the list\nusing words alone\nimport all of it now\n") == []


def needles(*tasks: tuple[str, str]) -> list[Needle]:
    return [Needle("b", task, "prompt", text) for task, text in tasks]


def test_what_three_tasks_share_names_none() -> None:
    shared = "Write a python function to find the number of elements in"
    three = needles(*((f"t/{k}", f"{shared} {word} alpha beta gamma delta") for k, word in enumerate(("lists", "sets", "trees"))))
    assert Index(three).leaks(shared) == []
    assert [leak.task for leak in Index(three).leaks(three[1].text)] == ["t/1"]
    assert {leak.task for leak in Index(three[:2]).leaks(shared)} == {"t/0", "t/1"}
    languages = [Needle("b", f"t/{k}", "prompt", needle.text, family="t") for k, needle in enumerate(three)]
    assert len(Index(languages).leaks(shared)) == 3  # one task in three languages
    others = [Needle(f"b{k}", needle.task, "prompt", needle.text) for k, needle in enumerate(three)]
    assert len(Index(others).leaks(shared)) == 3  # three benchmarks


def test_tasks_that_are_alike_in_full_keep_what_they_share() -> None:
    text = "brackets is a string and true if every opening bracket has a closing one"
    assert len(Index(needles(*((f"t/{k}", text) for k in range(3)))).leaks(text)) == 3


def test_short_ngrams_lower_the_other_limits() -> None:
    assert index_for("alpha beta", ngram=2).leaks("alpha, beta") != []
    assert index_for("alpha", ngram=2).reasons == ["short"]


def test_spans_are_characters_and_grow_with_the_stretch() -> None:
    text = " ".join(WORDS)
    (leak,) = index_for(text).leaks(f"é中 {text} 𝟘 {text}")
    assert (leak.start, leak.end, leak.runs) == (3, 3 + len(text), 4)


def test_listed_texts_have_words() -> None:
    assert all(re.search(r"\w", text) for text in known_trivial())
