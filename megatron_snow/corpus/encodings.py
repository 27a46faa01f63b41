"""Bytes of a file to text: UTF-8, else what the file declares, else Western European where it looks so; notebooks to code.

A wrong guess writes mojibake into the corpus, so what is not sure is dropped.
"""

from __future__ import annotations

import codecs
import re

from megatron_snow.corpus.notebooks import notebook_to_code

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


_LFS_POINTER = "version https://git-lfs.github.com/spec/"  # how the file begins that stands for one kept elsewhere


def text_of(path: str, language: str, data: bytes) -> tuple[str | None, str]:
    """The content of a document from its file's bytes: (text, ""), or (None, the rule that drops it).

    A pure function, so that the bytes and the language are enough to make a document again.
    """
    text, rule = decoded(data)
    return (None, rule) if text is None else converted(text, language)


def decoded(data: bytes | str) -> tuple[str | None, str]:
    """The text of a file, or of a table's column: (text, ""), or (None, "binary", "encoding", "empty" or "lfs_pointer")."""
    if isinstance(data, bytes):
        if is_binary(data):
            return None, "binary"
        text = decode(data)
    else:
        text = data if "\0" not in data and _is_unicode(data) else None
    if text is None:
        return None, "encoding"
    if not text or text.isspace():
        return None, "empty"
    return (None, "lfs_pointer") if text.startswith(_LFS_POINTER) else (text, "")


def converted(text: str, language: str) -> tuple[str | None, str]:
    """A notebook as code with text cells, any other text as it is: (text, ""), or (None, "notebook" or "empty").

    What is no JSON and speaks of no cells has been converted by others (StarCoderData's notebooks are scripts).
    """
    if language != "Jupyter Notebook" or (not text.lstrip().startswith("{") and '"cell_type"' not in text):
        return text, ""
    code = notebook_to_code(text)
    if code is None or not _is_unicode(code):  # JSON can spell half a character
        return None, "notebook"
    return (code, "") if code else (None, "empty")


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
    except (UnicodeError, LookupError):
        return None
    return text if encoding == "utf-8" or _is_unicode(text) else None  # a declared utf-7 or the like may give lone surrogates


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
