"""Words of a text and how much they repeat, as RedPajama-v2 and OpenCoder count them.

A word is a run of letters and digits, or of other characters beyond ASCII, in small letters; ASCII
punctuation, "_" among it, and blanks lie between words. OpenCoder also applies NFKC, which changes
next to nothing in code. csrc/data/words.cpp is the compiled form.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from megatron_snow.corpus.filters.characters import Rows, Values, call, classes, small_letters, strings_of, table_of
from megatron_snow.pipeline import Texts

TOP, REPEATED = (2, 3, 4), (5, 6, 7, 8, 9, 10)  # words in an n-gram

_WORD = re.compile(r"[^\W_]+|[^\w\s\x00-\x7f]+")


def count_words(texts: Texts, rows: Rows) -> Mapping[str, Values]:
    """words, mean_word, top_2gram_share ..., repeated_5gram_share ... (shares of the characters in words)."""
    columns = 2 + len(TOP) + len(REPEATED)
    counts = call("msnow_words", texts, rows, columns, classes(), small_letters())
    if counts is None:
        counts = table_of(map(words_in, strings_of(texts, rows)), columns)
    words, characters, *grams = counts.T.astype(np.float64)
    names = [*(f"top_{n}gram_share" for n in TOP), *(f"repeated_{n}gram_share" for n in REPEATED)]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = {name: gram / characters for name, gram in zip(names, grams)}
        return {"words": words, "mean_word": characters / words, **shares}


def words_in(text: str) -> Sequence[int]:
    """Words, their characters, those of the top n-grams and of repeated n-grams: the definition."""
    small = small_letters()
    words = _WORD.findall("".join(chr(small[ord(character)]) for character in text))
    return [len(words), sum(map(len, words)), *(_top(words, n) for n in TOP), *(_repeated(words, n) for n in REPEATED)]


def _grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[k:] for k in range(n))))


def _top(words: Sequence[str], n: int) -> int:
    gram, count = next(iter(Counter(_grams(words, n)).most_common(1)), ((), 0))
    return len("".join(gram)) * count if count > 1 else 0


def _repeated(words: Sequence[str], n: int) -> int:
    grams = _grams(words, n)
    count = Counter(grams)
    covered = {i + k for i, gram in enumerate(grams) if count[gram] > 1 for k in range(n)}
    return sum(len(words[i]) for i in covered)
