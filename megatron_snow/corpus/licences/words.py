"""Text as licences are compared: lower case words, without comment marks, punctuation, and how lines were broken."""

from __future__ import annotations

import re

_NOT_WORDS = re.compile(r"[^a-z0-9+]+")


def words_of(text: str) -> str:
    """The words of a text, one blank between them and at both ends: " permission is hereby granted "."""
    return f" {_NOT_WORDS.sub(' ', text.lower()).strip()} "
