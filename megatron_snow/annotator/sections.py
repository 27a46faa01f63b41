"""Which parts of a file the encoder reads: its top, middle and bottom (paper 2.3).

Files are often longer than 1,000 tokens; FineWeb-Edu, which the paper departs from here, read the
top alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

# Characters of a window for each token of a section. Code has 2 to 4 a token; white space, which
# WordPiece drops, makes up for the rest. A megabyte of tokens is not made to use 3 x 128 of them.
_CHARACTERS_PER_TOKEN = 8


class Tokens(Protocol):
    """What cutting needs of an encoder."""

    section_tokens: int

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]: ...


def sections_of(texts: Sequence[str], encoder: Tokens) -> list[list[list[int]]]:
    """For each text its sections of at most section_tokens - 2 ids: one to three, an empty text has one empty section."""
    size = encoder.section_tokens - 2  # CLS and SEP take two
    windows = [windows_of(text, size * _CHARACTERS_PER_TOKEN) for text in texts]
    ids = iter(encoder.token_ids([window for parts in windows for window in parts]))
    return [cut([next(ids) for _ in parts], size) for parts in windows]


def windows_of(text: str, size: int) -> list[str]:
    """Top, middle and bottom `size` characters of a text, or the whole where these would cover it."""
    if len(text) <= 3 * size:
        return [text]
    middle = (len(text) - size) // 2
    return [text[:size], text[middle : middle + size], text[-size:]]


def cut(windows: Sequence[list[int]], size: int) -> list[list[int]]:
    """Sections of `size` ids out of one window (a whole text) or three; fewer where a text is short."""
    top, middle, bottom = windows[0], windows[len(windows) // 2], windows[-1]
    if len(windows) == 1 and len(top) <= size:
        return [top]
    if len(windows) == 1 and len(top) <= 2 * size:
        return [top[:size], top[-size:]]
    start = max(0, (len(middle) - size) // 2)
    return [top[:size], middle[start : start + size], bottom[-size:]]
