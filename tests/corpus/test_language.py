"""Languages: always go-enry's answer, also where go-enry is not asked."""

from __future__ import annotations

import os
import posixpath
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import enry
import pytest

from megatron_snow.corpus.heuristics import decides
from megatron_snow.corpus.language import _by_extension, _by_name, _ending, is_code, language_of, languages_by_name, linguist_language
from megatron_snow.corpus.licences import is_licence_file

PLACES = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), "/usr/include", "/usr/share")
FILES = 1200  # of the installed ones, about this many a place
LARGEST = 200_000  # bytes


def installed(place: str) -> Iterator[tuple[str, bytes]]:
    """Real files that may be source, an equal share of the alphabet of folders."""
    paths = sorted(Path(folder, name) for folder, _, names in os.walk(place) for name in names if languages_by_name(name))
    for path in paths[:: max(1, len(paths) // FILES)]:
        if path.is_file() and path.stat().st_size <= LARGEST:
            yield path.name, path.read_bytes()


@pytest.mark.parametrize("place", PLACES)
def test_equal_to_enry_on_installed_files(place: str) -> None:
    if not Path(place).is_dir():
        pytest.skip(f"{place} is not there")
    ways: Counter[str] = Counter()
    for name, content in installed(place):
        known = _by_name(name)
        ways["name" if known.language else "rules" if known.extension else "enry"] += 1
        assert linguist_language(name, content) == enry.get_language(name, content), name
    if place == sysconfig.get_path("purelib"):
        assert sum(ways.values()) > 600
        assert ways["rules"] > 50  # C and C++ headers


CONTENTS = (
    b"", b"\n", b"#!/usr/bin/env python3\nx = 1\n", b"#!/bin/sh\nexec perl -x $0 $@\n", b"# vim: set ft=ruby :\n",
    b"\n" * 4 + b"# vim: ft=lua\n", b"\n" * 5 + b"# vim: ft=lua\n" + b"\n" * 6, b"\n" * 20 + b"// ex: syntax=java\n",
    b"\n" * 20 + b"vi: filetype=c" + b"\n" * 4, b"/* -*- C++ -*- */\n", b"; -*- mode: Lisp; x: y -*-\n",
    b"\n" * 30 + b"# -*- python -*-\n" * 6, b"x\0y", b"x" * 7999 + b"\0", b"x" * 8000 + b"\0", b"ft = 1\nsyntax = 2\n",
    b"left = ft=\n" * 30, b'<?xml version="1.0"?>\n<TS version="2.1">\n', b'  <?XML version="1.0"?>', b"class A {\n};\n",
    b"  template <class T>\n", b"std::vector<int> x;", b"public:\n", b"public: \n", b"@interface A\n", b"#import <Foundation.h>\n",
    b"#include <string>\n", b"try\n", b"/* a class of its own */\nint f(void);\n", b"\xff\xfe\xe9t\xe9\nstd::x", b"fn main() {}\n",
    b"  fn main() {}\n", b"#pragma version(1)\n", b"#![allow(x)]\n", b"<?php echo 1;\n", b"<?hh\n", b"<?hello", b"no tag\n",
    b"CREATE FUNCTION f() AS $$ x $$ LANGUAGE plpgsql;", b"begin work ;", b"ALTER MODULE x", b"select systimestamp from dual;", b"GO\n",
    b"\n  go\n", b"DECLARE @x int", b"select 1;\n", b"[dbo].[t]", b"END!", b"\\i other.sql\n",
)  # fmt: skip
NAMES = (
    "a.h", "A.H", "a.php", "a.rs", "a.sql", "a.ts", "a.tsx", "a.py", "a.rb", "a.c", "a.pl", "a.m", "a.md", "a.html", "a.cmake.in",
    "a.b.h", "a.d.ts", "Makefile", "Makefile.in", "CMakeLists.txt", "Rakefile", ".bashrc", "Dockerfile", "a", "a.", ".h", ".ts",
    "x.unheard-of", "a.1", "APKBUILD", "LICENSE",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_equal_to_enry_at_every_rule(name: str) -> None:
    for content in CONTENTS:
        assert linguist_language(name, content) == enry.get_language(name, content), content


def test_the_contents_reach_every_rule() -> None:
    found = {name: {linguist_language(name, content) for content in CONTENTS} for name in NAMES}
    assert {"C", "C++", "Objective-C", "Ruby", "Lua", "Java"} <= found["a.h"]
    assert {"PHP", "Hack"} <= found["a.php"]
    assert {"Rust", "RenderScript", "XML"} <= found["a.rs"]
    assert {"PLpgSQL", "SQLPL", "PLSQL", "TSQL", "SQL"} <= found["a.sql"]
    assert {"TypeScript", "XML"} <= found["a.ts"]
    assert {"TSX", "XML"} <= found["a.tsx"]
    assert "" in found["a.py"]  # a NUL
    assert all(decides(posixpath.splitext(name)[1].lower()) for name in ("a.h", "a.php", "a.rs", "a.sql", "a.ts", "a.tsx"))


def test_go_enry_is_not_asked_where_the_name_settles_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enry, "get_language", lambda name, content: pytest.fail(f"asked for {name}"))
    assert language_of("src/a.py", b"x = 1\n") == "Python"
    assert language_of("src/a.h", b"namespace a {}\n") == "C++"
    assert language_of("Makefile", b"#!/usr/bin/make -f\n") == "Makefile"  # a file name stands before a shebang


@pytest.mark.parametrize(
    "name", [*NAMES, "A.H", "a..h", "..h", ".a.h", "x.cmake.in", "x.y.cmake.in", "a.1m", "LICENSE.txt", "README.md", "x.d"]
)
def test_an_ending_says_what_the_name_says(name: str) -> None:
    shortened = name if enry.get_languages_by_filename(name) else _ending(name)
    assert _by_extension(shortened) == _by_extension(name)
    assert set(enry.get_languages(shortened, b"")) == set(enry.get_languages(name, b""))  # of several, in no order


def test_prose_is_no_code() -> None:
    assert linguist_language("README.md", b"# words\n") == "Markdown"
    assert language_of("README.md", b"# words\n") is None
    assert languages_by_name("README.md") == ()
    assert [is_code(name) for name in ("Python", "HTML", "JSON", "Markdown", "Nothing")] == [True, True, True, False, False]


def test_prose_that_is_asked_for_by_name() -> None:
    wanted = ("Python", "Markdown", "Text")
    assert language_of("README.md", b"# words\n", wanted) == "Markdown"
    assert language_of("notes.rst", b"words\n", wanted) is None
    assert language_of("a.py", b"x = 1\n", wanted) == "Python"
    assert language_of("a.c", b"int x;\n", wanted) == "C"  # of code all are given
    assert "Markdown" in languages_by_name("docs/README.md", wanted)
    assert "Text" in languages_by_name("LICENSE.txt", wanted)
    assert languages_by_name("a.py", wanted) == ("Python",)


def test_names_that_are_not_utf_8() -> None:
    assert linguist_language("a/\udcff.py", b"x = 1\n") == "Python"
    assert languages_by_name("\udcff.py") == ("Python",)
    assert not is_licence_file("a/LICENSE\udcff")
    assert is_licence_file("\udcff/LICENSE")
