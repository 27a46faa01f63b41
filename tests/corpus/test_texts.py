"""Encodings and languages: what a file's bytes say."""

from __future__ import annotations

import codecs

import pytest

from megatron_snow.corpus.encodings import decode, is_binary
from megatron_snow.corpus.language import is_code, language_of, languages_by_name


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("naïve = 1".encode(), "naïve = 1"),
        (codecs.BOM_UTF8 + b"x = 1", "x = 1"),
        (codecs.BOM_UTF16_LE + "x = 1".encode("utf-16-le"), "x = 1"),
        ("# -*- coding: latin-1 -*-\n# café".encode("latin-1"), "# -*- coding: latin-1 -*-\n# café"),
        ("# coding: gbk\n# 中文".encode("gbk"), "# coding: gbk\n# 中文"),
        ("# café au lait".encode("cp1252"), "# café au lait"),  # accents alone: Western
        ("# 中文中文".encode("gbk"), None),  # undeclared and foreign: a guess would be mojibake
        (b"# coding: rot13\n\xff", "# coding: rot13\nÿ"),  # not a text encoding
        (b"\xff\xfe\x00", None),  # half a character
    ],
)
def test_decode(data: bytes, text: str | None) -> None:
    assert decode(data) == text


def test_binary_is_told_by_nul_unless_a_mark_says_utf16() -> None:
    assert is_binary(b"\x7fELF\0")
    assert not is_binary(codecs.BOM_UTF16_LE + "x".encode("utf-16-le"))


@pytest.mark.parametrize(
    ("path", "content", "language"),
    [
        ("a.py", b"x = 1\n", "Python"),
        ("bin/run", b"#!/usr/bin/env bash\n", "Shell"),
        ("a.h", b"class A { public: int x; };\n", "C++"),
        ("a.h", b"int f(void);\n", "C"),
        ("Makefile", b"all:\n", "Makefile"),
        ("README.md", b"# words\n", None),  # prose
        ("a.unheard-of", b"x\n", None),
    ],
)
def test_language(path: str, content: bytes, language: str | None) -> None:
    assert language_of(path, content) == language


def test_languages_by_name_keeps_headers_open() -> None:
    assert languages_by_name("src/a.py") == ("Python",)
    assert set(languages_by_name("src/a.h")) == {"C", "C++", "Objective-C"}
    assert languages_by_name("LICENSE") == ()
    assert languages_by_name("a.so") == ()


def test_is_code_knows_markup_and_data_but_not_prose() -> None:
    assert [is_code(name) for name in ("Python", "HTML", "JSON", "Markdown", "Nothing")] == [True, True, True, False, False]
