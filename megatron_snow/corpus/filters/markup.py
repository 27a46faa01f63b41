"""What a reader would see of HTML: no tags, comments, scripts and styles; an entity is one character, a run of blanks one.

BigCode takes BeautifulSoup's text instead, which counts every blank. csrc/data/markup.cpp is the
compiled form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from megatron_snow.corpus.filters.characters import Rows, Values, call, classes, strings_of, table_of
from megatron_snow.pipeline import Texts

_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(script|style|template|noscript)\b.*?(?:</\1\s*>|\Z)"
    r"|<[a-z/!?][^>]*(?:>|\Z)"
    r"|(?P<entity>&(?:[a-z][a-z0-9]*|#[0-9]+|#x[0-9a-f]+);)",
    re.ASCII | re.DOTALL | re.IGNORECASE,
)


def count_visible(texts: Texts, rows: Rows) -> Mapping[str, Values]:
    """visible_characters of HTML."""
    counts = call("msnow_visible", texts, rows, 1, classes())
    if counts is None:
        counts = table_of(map(visible_in, strings_of(texts, rows)), 1)
    return {"visible_characters": counts[:, 0].astype(np.float64)}


def visible_in(html: str) -> int:
    """Visible characters of one text: the definition."""
    text = _MARKUP.sub(lambda match: "x" if match["entity"] else "", html)
    return len(" ".join(text.split()))
