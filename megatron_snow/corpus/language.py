"""Programming languages by linguist's rules (go-enry): modeline, name, shebang, extension, and content where these are ambiguous.

Passing a file's content to go-enry costs 145 microseconds. Linguist looks at the content only for modelines and a shebang where
the name settles the language, so such files are answered from the name: the answer is go-enry's own, and most files are such.
"""

from __future__ import annotations

import posixpath
import re
from functools import cache, lru_cache

import enry
from enry.definitions import lib
from enry.utils import go_str_slice_to_py, prepare_candidates

_TYPES = frozenset({"programming", "markup", "data"})  # linguist's fourth type is prose (Markdown, plain text)

_NUL_WITHIN = 8000  # bytes: a NUL there is go-enry's sign of a binary file, of no language
_MODELINE_LINES = 5  # at each end of a file, where Emacs and Vim look
# What every modeline holds that could name a language; a match only means that go-enry has to look.
_MODELINE = re.compile(rb"-\*-|(?:filetype|ft|syntax)\s*=", re.IGNORECASE)


@cache
def is_code(language: str) -> bool:
    """Whether linguist knows the language and counts it as programming, markup or data."""
    return enry.get_language_type(language) in _TYPES


def language_of(path: str, content: bytes) -> str | None:
    """Linguist's name for the file's language; None where it is unknown or prose."""
    language = linguist_language(path, content)
    return language if language and is_code(language) else None


def linguist_language(path: str, content: bytes) -> str:
    """Linguist's name for the file's language, prose too; "" where it is unknown. Always equal to `enry.get_language`."""
    name = posixpath.basename(path)
    language, beats_shebang = _settled_by_name(name)
    if language and (beats_shebang or not content.startswith(b"#!")) and not _may_hold_modeline(content):
        return "" if content.find(b"\0", 0, _NUL_WITHIN) >= 0 else language
    return str(enry.get_language(name, content))


def has_extension(path: str) -> bool:
    """Whether the file name has an ending; without one only a shebang tells the language."""
    return bool(posixpath.splitext(path)[1])


def languages_by_name(path: str) -> tuple[str, ...]:
    """The languages that the file name alone allows, () where it says nothing; for skipping files without reading them."""
    return _allowed_by_name(posixpath.basename(path))


def _may_hold_modeline(content: bytes) -> bool:
    head, foot = -1, len(content)
    for _ in range(_MODELINE_LINES):
        head = content.find(b"\n", head + 1)
        foot = content.rfind(b"\n", 0, max(foot, 0))
        if head < 0 or foot < 0:  # fewer lines than that: go-enry looks at all
            return _MODELINE.search(content) is not None
    return _MODELINE.search(content, 0, head) is not None or _MODELINE.search(content, foot) is not None


@lru_cache(1 << 16)
def _settled_by_name(name: str) -> tuple[str, bool]:
    """(the one language that the name allows or "", whether it stands before a shebang)."""
    if by_file_name := enry.get_languages_by_filename(name):
        return (by_file_name[0] if len(by_file_name) == 1 else ""), True
    by_extension = _by_extension(name)
    return (by_extension[0] if len(by_extension) == 1 else ""), False


@lru_cache(1 << 16)
def _allowed_by_name(name: str) -> tuple[str, ...]:
    usual = enry.get_languages(name, b"")  # by go-enry's heuristics for a file without content
    if not any(map(is_code, usual)):
        return ()  # .md is also GCC's machine description, but not usually
    return tuple(filter(is_code, enry.get_languages_by_filename(name) or _by_extension(name) or usual))


def _by_extension(name: str) -> list[str]:
    """All languages of an extension; enry's `get_language_by_extension` gives the first alone."""
    candidates, _ = prepare_candidates(None)
    languages: list[str] = go_str_slice_to_py(lib, lib.GetLanguagesByExtension(name.encode(), b"", 0, candidates))
    return languages
