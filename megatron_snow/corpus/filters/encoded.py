"""Data written as text: base64, hexadecimal and \\u escapes, by StarCoder2's three expressions (arXiv 2402.19173, 2.1).

csrc/data/encoded.cpp finds the same matches without a regex engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from megatron_snow.corpus.filters.characters import Rows, Values, call, classes, strings_of, table_of
from megatron_snow.pipeline import Texts

EXPRESSIONS = (
    re.compile(r"[a-zA-Z0-9+/\n=]{64,}"),
    re.compile(r"(?:\b(?:0x|\\x)?[0-9a-fA-F]{2}(?:,|\b\s*)){8,}"),
    re.compile(r"(?:\\u[0-9a-fA-F]{4}){8,}"),
)


def find_encoded(texts: Texts, rows: Rows) -> Mapping[str, Values]:
    """encoded_longest: characters of the longest match; encoded_share: those of all matches, of all characters."""
    counts = call("msnow_encoded", texts, rows, 3, classes())
    if counts is None:
        counts = table_of(map(encoded_in, strings_of(texts, rows)), 3)
    longest, total, characters = counts.T.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {"encoded_longest": longest, "encoded_share": total / characters}


def encoded_in(text: str) -> Sequence[int]:
    """Characters of the longest match, of all and of the text: the definition."""
    lengths = [len(match) for expression in EXPRESSIONS for match in expression.findall(text)]
    return [max(lengths, default=0), sum(lengths), len(text)]
