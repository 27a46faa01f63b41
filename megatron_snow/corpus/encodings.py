"""Bytes of a file to text: UTF-8, else what the file declares, else Western European where it looks so.

A wrong guess writes mojibake into the corpus, so what is not sure is dropped.
"""

from __future__ import annotations

import codecs
import re

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# PEP 263 and Emacs ("coding: x", "coding=x"), XML (encoding="x"), HTML (charset=x); within the first lines.
_DECLARED = re.compile(rb"(?:coding|charset)\s*[:=]\s*[\"']?([A-Za-z][-\w.]+)")
_DECLARED_WITHIN = 1024  # bytes

# Accents of Western text stand alone or in pairs; four high bytes in a row are another script.
_FOREIGN = re.compile(rb"[\x80-\xff]{4}")


def is_binary(data: bytes) -> bool:
    """A NUL byte tells (The Stack v2's rule), unless a mark says UTF-16 or UTF-32."""
    return b"\0" in data and not any(data.startswith(mark) for mark, _ in _BOMS)


def decode(data: bytes) -> str | None:
    """The text of a file's bytes, without a byte order mark; None where the encoding cannot be told."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _try(data, encoding)
    text = _try(data, "utf-8")
    if text is not None:
        return text
    if (match := _DECLARED.search(data[:_DECLARED_WITHIN])) and (text := _try(data, match[1].decode())) is not None:
        return text
    return None if _FOREIGN.search(data) else _try(data, "cp1252")


def _try(data: bytes, encoding: str) -> str | None:
    try:
        text = data.decode(encoding)
        text.encode("utf-8")  # a declared utf-7 or the like may give lone surrogates
        return text
    except (UnicodeError, LookupError):
        return None
