"""Programming languages by linguist's rules (go-enry): modeline, name, shebang, extension, and content where these are ambiguous.

Linguist looks at the content only for modelines and a shebang where the name settles the language, so such files are answered
from the name in 8 microseconds, where passing the content to go-enry takes 45; the ambiguous endings that are common go by
`heuristics`. The answer is always go-enry's own.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection
from functools import cache, lru_cache
from typing import NamedTuple

import enry
from enry.definitions import lib
from enry.utils import go_str_slice_to_py, prepare_candidates

from megatron_snow.corpus.heuristics import decides, language_by_content

_TYPES = frozenset({"programming", "markup", "data"})  # linguist's fourth type is prose (Markdown, plain text)

_NUL_WITHIN = 8000  # bytes: a NUL there is go-enry's sign of a binary file, of no language
_MODELINE_LINES = 5  # at each end of a file, where Emacs and Vim look
# What Vim's modelines hold that could name a language; a match only means that go-enry has to look.
_VIM = re.compile(rb"(?:filetype|ft|syntax)\s*=")


@cache
def is_code(language: str) -> bool:
    """Whether linguist knows the language and counts it as programming, markup or data."""
    return enry.get_language_type(language) in _TYPES


def is_wanted(language: str, prose: Collection[str] = ()) -> bool:
    """Whether a language is code, or one of the prose that is asked for by name."""
    return is_code(language) or language in prose


def language_of(path: str, content: bytes, prose: Collection[str] = ()) -> str | None:
    """Linguist's name for the file's language; None where it is unknown, or prose (Markdown, Text) that is not in `prose`.

    Every name of `prose` may be given: `corpus.languages` as it is.
    """
    language = linguist_language(path, content)
    return language if language and is_wanted(language, prose) else None


def linguist_language(path: str, content: bytes) -> str:
    """Linguist's name for the file's language, prose too; "" where it is unknown. Always equal to `enry.get_language`."""
    name = _base_name(path)
    known = _by_name(name)
    if known.certain and (known.by_file_name or not content.startswith(b"#!")) and not _may_hold_modeline(content):
        if content.find(b"\0", 0, _NUL_WITHIN) >= 0:
            return ""
        if language := known.language or language_by_content(known.extension, content):
            return language
    return str(enry.get_language(name, content))


def has_extension(path: str) -> bool:
    """Whether the file name has an ending; without one only a shebang tells the language."""
    return bool(posixpath.splitext(path)[1])


def languages_by_name(path: str, prose: Collection[str] = ()) -> tuple[str, ...]:
    """The languages that the file name alone allows, () where it says nothing; for skipping files without reading them.

    Of prose those in `prose`, as in `language_of`.
    """
    return _wanted_by_name(_base_name(path), frozenset(prose))


@lru_cache(1 << 16)
def _wanted_by_name(name: str, prose: frozenset[str]) -> tuple[str, ...]:
    by_file_name = _by_file_name(name)
    usual = _usual(name if by_file_name else _ending(name))
    if not any(is_wanted(language, prose) for language in usual):
        return ()  # .md is also GCC's machine description, but not usually
    return tuple(language for language in by_file_name or _by_extension(_ending(name)) or usual if is_wanted(language, prose))


def _base_name(path: str) -> str:
    """What go-enry is asked for: UTF-8, with question marks for bytes of a name that are not."""
    return posixpath.basename(path).encode("utf-8", "replace").decode()


def _may_hold_modeline(content: bytes) -> bool:
    ends = _ends(content)
    if b"-*-" in ends:
        return True
    ends = ends.lower()
    return (b"ft" in ends or b"filetype" in ends or b"syntax" in ends) and _VIM.search(ends) is not None


def _ends(content: bytes) -> bytes:
    head, foot = -1, len(content)
    for _ in range(_MODELINE_LINES):
        head = content.find(b"\n", head + 1)
        foot = content.rfind(b"\n", 0, max(foot, 0))
        if head < 0 or foot < 0:  # fewer lines than that: go-enry looks at all of them
            return content
    return content[:head] + content[foot:]


class _Known(NamedTuple):
    """What a file's name says: a language, or an ending whose rules decide by the content, or neither."""

    language: str = ""
    extension: str = ""
    by_file_name: bool = False  # stands before a shebang

    @property
    def certain(self) -> bool:
        return bool(self.language or self.extension)


@lru_cache(1 << 16)
def _by_name(name: str) -> _Known:
    if by_file_name := _by_file_name(name):
        return _Known(by_file_name[0], by_file_name=True) if len(by_file_name) == 1 else _Known()
    return _by_ending(_ending(name))


_by_file_name = lru_cache(1 << 16)(enry.get_languages_by_filename)


def _ending(name: str) -> str:
    """All that go-enry looks at in a name that is not in its table of file names: a few hundred, where names are as many as files."""
    dot = name.find(".")
    return name if dot == 0 else f"x{name[dot:]}" if dot > 0 else "x"


@lru_cache(1 << 16)
def _usual(name: str) -> list[str]:
    return enry.get_languages(name, b"")  # by go-enry's heuristics for a file without content


@lru_cache(1 << 16)
def _by_ending(name: str) -> _Known:
    candidates = _by_extension(name)
    if len(candidates) == 1:
        return _Known(candidates[0])
    extension = posixpath.splitext(name)[1].lower()
    return _Known(extension=extension) if decides(extension) and candidates == _by_extension(extension) else _Known()


@lru_cache(1 << 16)
def _by_extension(name: str) -> list[str]:
    """All languages of an extension; enry's `get_language_by_extension` gives the first alone."""
    candidates, _ = prepare_candidates(None)
    languages: list[str] = go_str_slice_to_py(lib, lib.GetLanguagesByExtension(name.encode(), b"", 0, candidates))
    return languages
