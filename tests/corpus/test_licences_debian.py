"""Debian's copyright files: free text and DEP-5, and the paths that its stanzas name."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from megatron_snow.config import Corpus, Source
from megatron_snow.corpus.licences import debian, from_debian_copyright, kind_of, licence_map
from megatron_snow.corpus.licences.debian import Stanza, Stanzas, from_name, stanzas_of
from megatron_snow.corpus.stages import collect
from megatron_snow.pipeline import read_documents, shards_in

DOCUMENTS = Path("/usr/share/doc")
EIGEN = sorted(Path.home().glob(".cache/megatron_snow/repositories/archives/debian/libeigen3-dev_*.deb"))
DEP5 = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: thing

Files: *
Copyright: 2020 A. Author
License: Expat

Files: src/vendor/*
       m4/?.m4
Copyright: 2001 B. Author
License: GPL-2+ with Autoconf exception

Files: src/vendor/fine/*.c
Copyright: 2001 C. Author
License: house-rules

License: house-rules
 Redistribution and use in source and binary forms, with or without
 modification, are permitted.
"""


def test_what_stands_for_all_files() -> None:
    assert from_debian_copyright(DEP5) == "MIT"
    text = "Format: x\n\nFiles: lib/*\nLicense: Expat\n\nFiles: *\nCopyright: me\nLicense: GPL-2+ or LGPL-3+\n"
    assert from_debian_copyright(text) == "GPL-2.0-or-later OR LGPL-3.0-or-later"
    assert from_debian_copyright("Format: x\n\nFiles: lib/*\nLicense: Expat\n") == "MIT"
    assert from_debian_copyright("This is free software under the GNU General Public License.") == "GPL-1.0-or-later"
    assert from_debian_copyright("Nothing to see.") == ""


@pytest.mark.parametrize(
    ("line", "expression"),
    [
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-2+ or Expat", "GPL-2.0-or-later OR MIT"),
        ("GPL-2+ or Artistic, and BSD-3-clause", "(GPL-2.0-or-later OR Artistic-1.0-Perl) AND BSD-3-Clause"),
        ("GPL-3+ with Bison exception", "GPL-3.0-or-later"),
        ("", ""),
    ],
)
def test_short_names(line: str, expression: str) -> None:
    assert from_name(line) == expression


def test_the_last_stanza_that_names_a_path_counts() -> None:
    licences = licence_map({"debian/copyright": DEP5})
    assert licences.licence_of("src/a.c", "") == "MIT"
    assert licences.licence_of("src/vendor/deep/a.c", "") == "GPL-2.0-or-later"
    assert licences.licence_of("m4/a.m4", "") == "GPL-2.0-or-later"
    assert licences.licence_of("m4/ab.m4", "") == "MIT"
    assert licences.licence_of("src/vendor/fine/a.c", "") == "BSD-2-Clause"  # Debian's own name, read by its text
    assert licences.licence_of("src/vendor/fine/a.c", "// SPDX-License-Identifier: ISC") == "ISC"


def test_a_stanza_stands_before_files_and_files_before_the_stanza_for_all() -> None:
    gpl = "GNU GENERAL PUBLIC LICENSE Version 3, 29 June 2007"
    licences = licence_map({"debian/copyright": DEP5, "other/COPYING": gpl, "src/vendor/COPYING": gpl, "COPYING": gpl}, "Zlib")
    assert licences.licence_of("src/vendor/a.c", "") == "GPL-2.0-or-later"
    assert licences.licence_of("other/a.c", "") == "GPL-3.0-or-later"
    assert licences.licence_of("a.c", "") == "MIT"


def test_installed_files_are_matched_by_the_end_of_their_path() -> None:
    licences = licence_map({"usr/share/doc/thing/copyright": DEP5})
    assert licences.licence_of("usr/include/thing.h", "") == "MIT"
    assert licences.licence_of("usr/lib/thing/src/vendor/a.c", "") == "GPL-2.0-or-later"
    assert licences.licence_of("usr/lib/thing/mysrc/vendor/a.c", "") == "MIT"


@pytest.mark.skipif(len(list(DOCUMENTS.glob("*/copyright"))) < 50, reason="fewer than 50 Debian copyright files here")
def test_copyright_files_of_this_system() -> None:
    """Most stanzas name a licence that the lists know, and both kinds are among them."""
    kinds: Counter[str] = Counter()
    for path in DOCUMENTS.glob("*/copyright"):
        kinds.update({kind_of(stanza.licence) for stanza in stanzas_of(path.read_text(errors="replace"))})
    assert kinds["permissive"] > 20
    assert kinds["copyleft"] > 20
    assert kinds["unknown"] < sum(kinds.values()) / 4


@pytest.mark.skipif(not EIGEN, reason="benchmarks/fetch_repositories.py has not fetched libeigen3-dev")
def test_a_package_of_mixed_licences(tmp_path: Path) -> None:
    """Eigen is under the MPL, with parts under the LGPL, BSD and MINPACK's terms, which its files and DEP-5 stanzas say."""
    collect(Corpus(sources=(Source("archive", str(EIGEN[0])),)), 1, tmp_path / "out")
    rows = [row for shard in shards_in(tmp_path / "out") for row in read_documents(shard, ["path", "licence", "licence_kind"])]
    licences = Counter(row["licence"] for row in rows)
    assert licences.most_common(1)[0][0] == "MPL-2.0"
    assert {"BSD-3-Clause", "LGPL-2.1-only"} <= set(licences)
    assert Counter(row["licence_kind"] for row in rows)["unlicensed"] == 0


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("a*b*c", "axb/xbxc", True),
        ("*ab*b", "abb", True),
        ("*ab*b", "ab", False),
        ("a**b", "ab", True),
        (r"a\*b", "a*b", True),
        (r"a\*b", "axb", False),
        (r"a\\*", r"a\x", True),
        (r"a\\*", "a*x", False),
    ],
)
def test_stars_of_a_pattern(pattern: str, path: str, covered: bool) -> None:
    assert Stanza((pattern, "other"), "MIT", True).covers(path) is covered


@pytest.mark.parametrize("memory", [64_000_000, 1000])  # of RE2: enough, and too little for any pattern
@pytest.mark.parametrize("anchored", [True, False])
def test_all_at_once_find_the_stanza_that_one_by_one_do(monkeypatch: pytest.MonkeyPatch, memory: int, anchored: bool) -> None:
    monkeypatch.setattr(debian, "_SET_MEMORY", memory)
    patterns = ("src/a?.c", "a.py", "*", r"src/\*.c x[1].(h)", "./docs/*", "src/*/é.c", "doc\0s/x", "*/deep/*.c")
    stanzas = [Stanza(tuple(line.split()), "MIT" * (number != 1), anchored) for number, line in enumerate(patterns)]
    paths = [
        "src/ab.c",
        "usr/src/ab.c",
        "a.py",
        "b/a.py",
        "src/*.c",
        "src/x.c",
        "x[1].(h)",
        "docs/",
        "docs/a/b",
        "doc/s/x",
        "src/\n/é.c",
        "",
        "/",
    ]
    for first in range(len(stanzas)):
        rest = stanzas[first:]
        for path in [*paths, "a/deep/b/c.c", "deep/c.c", "x/src/q/é.c"]:
            assert Stanzas(rest).first_covering(path) == next((one for one in rest if one.licence and one.covers(path)), None), path
    assert (Stanzas(stanzas)._set is None) == (memory == 1000)


def test_hostile_files_are_read_in_time() -> None:
    started = time.process_time()
    assert not Stanza(("*a" * 40 + "*b",), "MIT", True).covers("a" * 300)
    assert from_debian_copyright("Format: x\nFiles: *\nLicense: MIT" + " " * 200_000 + "x\n") != "MIT"
    assert from_debian_copyright("Format: x\nFiles: *\nLicense: MIT" + " " * 200_000) == "MIT"
    assert time.process_time() - started < 5  # a second, where each blank or star is tried again with the rest: hours
