"""Collecting: the order, the limits, the counts, and that workers do not matter."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from megatron_snow.common.checksums import text_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import Manifest, read_json_lines
from megatron_snow.config import Corpus, Filters, Source
from megatron_snow.corpus.collection import Wanted, document_of, in_seeded_order
from megatron_snow.corpus.selection import Room
from megatron_snow.corpus.sources import Part, RawFile
from megatron_snow.corpus.stages import collect
from megatron_snow.pipeline import Execution, read_documents, shards_in


def documents_in(folder: Path) -> list[dict[str, object]]:
    return [document for shard in shards_in(folder) for document in read_documents(shard)]


def adds_up(manifest: Manifest) -> bool:
    counts = manifest.counts
    dropped = sum(count for key, count in counts.items() if key.startswith("dropped:") and key.count(":") == 1)
    return counts["documents"] == counts["kept"] + dropped


def test_everything_is_collected_without_a_limit(checkouts: Path, tmp_path: Path) -> None:
    manifest = collect(Corpus(sources=(Source("folder", str(checkouts)),)), 1, tmp_path / "out")
    documents = documents_in(tmp_path / "out")
    files = [path for path in checkouts.rglob("*.py") if path.stat().st_size]
    assert Counter(document["language"] for document in documents)["Python"] == len(files)
    assert {"Python", "C"} <= {document["language"] for document in documents}
    assert manifest.counts["kept"] == len(documents)
    assert adds_up(manifest)


@pytest.fixture(scope="module")
def limited(checkouts: Path) -> Corpus:
    """300 kB of about 2 MB, at most 60 % of it in one language and a quarter of one repository."""
    return Corpus(sources=(Source("folder", str(checkouts)),), max_bytes=300_000, max_language_share=0.6, max_repository_share=0.25)


def test_limits_hold_and_all_that_is_dropped_is_counted(limited: Corpus, tmp_path: Path) -> None:
    manifest = collect(limited, 1, tmp_path / "out")
    by_language: Counter[object] = Counter()
    by_repository: Counter[object] = Counter()
    for document in documents_in(tmp_path / "out"):
        by_language[document["language"]] += document["size"]
        by_repository[document["repository"]] += document["size"]
    assert 0 < max(by_language.values()) <= 180_000
    assert max(by_repository.values()) <= 75_000
    assert manifest.counts["kept_bytes"] == by_language.total()
    assert {"dropped:language_share", "dropped:repository_share"} <= set(manifest.counts)
    assert adds_up(manifest)


def test_result_does_not_depend_on_workers_but_on_the_seed(limited: Corpus, tmp_path: Path) -> None:
    one = collect(limited, 1, tmp_path / "one", Execution("pool", 1))
    two = collect(limited, 1, tmp_path / "two", Execution("pool", 2))
    other = collect(limited, 2, tmp_path / "other", Execution("pool", 1))
    assert one.outputs == two.outputs
    assert one.counts == two.counts
    assert one.outputs != other.outputs


def test_second_run_does_nothing_until_a_file_changes(checkouts: Path, tmp_path: Path) -> None:
    corpus = Corpus(sources=(Source("folder", str(checkouts)),), max_bytes=300_000)
    first = collect(corpus, 1, tmp_path / "out")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    assert collect(corpus, 1, tmp_path / "out") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")} == written
    changed = checkouts / "json" / "decoder.py"
    status = changed.stat()
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert collect(corpus, 1, tmp_path / "out").outputs == first.outputs  # same bytes, so the same result


def test_languages_restrict(checkouts: Path, tmp_path: Path) -> None:
    manifest = collect(Corpus(sources=(Source("folder", str(checkouts)),), languages=("C",)), 1, tmp_path / "out")
    assert {document["language"] for document in documents_in(tmp_path / "out")} == {"C"}
    assert manifest.counts["dropped:other_language:Python"] > 50


def test_first_repositories_come_first() -> None:
    parts = [Part("files", name, "", 1) for name in "abcdefgh"]
    order = [part.repository for part in in_seeded_order(parts, 1, ["g", "missing", "b"])]
    assert order[:2] == ["g", "b"]
    assert order[2:] == [part.repository for part in in_seeded_order(reversed(parts), 1, ()) if part.repository not in "gb"]
    assert order != sorted(order)


def test_empty_source_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in" / "empty").mkdir(parents=True)
    with pytest.raises(UserError, match="nothing to read"):
        collect(Corpus(sources=(Source("folder", str(tmp_path / "in")),)), 1, tmp_path / "out")


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"x = 1\n", ""),
        (b"x\0", "binary"),
        (b"# \xe4\xe4\xe4\xe4", "encoding"),
        (b" \n\n", "empty"),
        ("\ud800", "encoding"),
        ("nul\0", "encoding"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "lfs_pointer"),
    ],
)
def test_why_a_file_is_dropped(data: bytes | str, rule: str) -> None:
    document, reason, _ = document_of(RawFile("r", "a.py", "here", data))
    assert reason == rule
    assert (document is None) == bool(rule)


def test_language_that_the_source_gives_is_kept_where_linguist_knows_it() -> None:
    for given, expected in (("TypeScript", "TypeScript"), ("typescript-ish", "Python"), ("", "Python")):
        document, _, _ = document_of(RawFile("r", "a.py", "here", "x = 1\n", language=given))
        assert document is not None
        assert document["language"] == expected


def test_room_takes_until_full() -> None:
    room = Room(100, 60)
    assert [room.rule_against("A", 50), room.rule_against("A", 20), room.rule_against("B", 60)] == ["", "language_share", ""]
    assert (room.left, room.rule_against("C", 1)) == (0, "max_bytes")
    assert room.full_languages() == ["B"]


PAPER = {  # the paper's 18 languages, each as a small file that is told from those which share its ending
    "Python": ("a.py", "def f(x):\n    return x\n"),
    "Java": ("A.java", "public class A { int x; }\n"),
    "C++": ("a.cpp", "#include <vector>\nint main() { std::vector<int> x; }\n"),
    "C": ("a.c", "#include <stdio.h>\nint main(void) { return 0; }\n"),
    "JavaScript": ("a.js", "const x = () => 1;\n"),
    "PHP": ("a.php", "<?php\nnamespace A;\necho 1;\n"),
    "C#": ("A.cs", "using System;\nnamespace A { class B { } }\n"),
    "Go": ("a.go", "package main\n\nfunc main() {}\n"),
    "TypeScript": ("a.ts", "export interface A { x: number }\n"),
    "SQL": ("a.sql", "SELECT a FROM b WHERE c = 1;\n"),
    "Ruby": ("a.rb", "class A\n  def b; end\nend\n"),
    "Rust": ("a.rs", "fn main() { let x = 1; }\n"),
    "Jupyter Notebook": ("a.ipynb", '{"cells": [{"cell_type": "code", "source": "x = 1"}], "nbformat": 4}\n'),
    "Scala": ("A.scala", "object A extends App { val x = 1 }\n"),
    "Kotlin": ("A.kt", "fun main() { val x = 1 }\n"),
    "Shell": ("a.sh", "#!/bin/sh\necho 1\n"),
    "Dart": ("a.dart", "void main() { var x = 1; }\n"),
    "Swift": ("A.swift", "import Foundation\nlet x = 1\n"),
}


@pytest.mark.parametrize("language", PAPER)
def test_the_papers_languages_are_collected_under_their_names(language: str, tmp_path: Path) -> None:
    name, text = PAPER[language]
    (tmp_path / "in" / "r").mkdir(parents=True)
    (tmp_path / "in" / "r" / name).write_text(text)
    (tmp_path / "in" / "r" / "other.vhdl").write_text("entity a is end a;\n")
    collect(Corpus(sources=(Source("folder", str(tmp_path / "in")),), languages=(language,)), 1, tmp_path / "out")
    assert [(document["language"], document["path"]) for document in documents_in(tmp_path / "out")] == [(language, name)]


def test_a_document_has_every_fact(tmp_path: Path) -> None:
    (tmp_path / "in" / "r" / "tests").mkdir(parents=True)
    data = codecs.BOM_UTF8 + b"# SPDX-License-Identifier: ISC\nx = 1\n"
    (tmp_path / "in" / "r" / "tests" / "test_a.py").write_bytes(data)
    collect(Corpus(sources=(Source("folder", str(tmp_path / "in")),)), 1, tmp_path / "out")
    (document,) = documents_in(tmp_path / "out")
    text = data.decode("utf-8-sig")
    assert document == {
        "id": text_digest(text), "repository": "r", "path": "tests/test_a.py", "language": "Python", "role": "test", "licence": "ISC",
        "licence_kind": "permissive", "stars": None, "forks": None, "date": "", "revision": "", "size": len(text), "content": text,
        "swhid": "swh:1:cnt:" + hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest(),
        "provenance": str(tmp_path / "in" / "r" / "tests" / "test_a.py"),
    }  # fmt: skip


def test_swhid_is_the_blob_that_git_names(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    try:
        expected = subprocess.run(["git", "hash-object", str(tmp_path / "a.py")], capture_output=True, text=True, check=True).stdout.strip()
    except FileNotFoundError:
        pytest.skip("git is not installed")
    document, _, _ = document_of(RawFile("r", "a.py", "here", b"x = 1\n"))
    assert document is not None
    assert document["swhid"] == f"swh:1:cnt:{expected}"


@pytest.fixture
def licensed(tmp_path: Path) -> Path:
    """Four repositories, one of each kind of licence."""
    texts = {
        "permissive": "SPDX-License-Identifier: MIT",
        "copyleft": "SPDX-License-Identifier: GPL-3.0-only",
        "unknown": "",
        "unlicensed": "",
    }
    for name, head in texts.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "a.py").write_text(f"# {head}\nx = '{name}'\n")
    (tmp_path / "in" / "unknown" / "LICENSE").write_text("You may look at this on Tuesdays.\n")
    return tmp_path / "in"


def test_licence_kinds_are_selected_and_the_others_counted(licensed: Path, tmp_path: Path) -> None:
    whole = Corpus(sources=(Source("folder", str(licensed)),))
    collect(whole, 1, tmp_path / "all")
    assert all(document["licence_kind"] == document["repository"] for document in documents_in(tmp_path / "all"))
    manifest = collect(replace(whole, licence_kinds=("permissive", "unlicensed")), 1, tmp_path / "some")
    assert {document["repository"] for document in documents_in(tmp_path / "some")} == {"permissive", "unlicensed"}
    dropped = {key: count for key, count in manifest.counts.items() if key.startswith("dropped:licence_") and key.count(":") == 1}
    assert dropped == {"dropped:licence_copyleft": 1, "dropped:licence_unknown": 1}
    assert adds_up(manifest)


def test_opted_out_repositories_are_left_out_and_counted(licensed: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("# asked on 1 May\nPERMISSIVE\n\nnot/here\n")
    corpus = Corpus(sources=(Source("folder", str(licensed)),), opt_out=str(tmp_path / "list"))
    manifest = collect(corpus, 1, tmp_path / "out")
    assert {document["repository"] for document in documents_in(tmp_path / "out")} == {"copyleft", "unknown", "unlicensed"}
    assert manifest.counts["dropped:opt_out"] == 1
    (tmp_path / "list").write_text("copyleft\n")  # the list is an input: another list, another corpus
    collect(corpus, 1, tmp_path / "out")
    assert {document["repository"] for document in documents_in(tmp_path / "out")} == {"permissive", "unknown", "unlicensed"}
    with pytest.raises(UserError, match=r"corpus\.opt_out: nowhere"):
        collect(replace(corpus, opt_out="nowhere"), 1, tmp_path / "other")


def test_a_second_repository_of_a_name_is_opted_out_too() -> None:
    wanted = Wanted(opted_out=frozenset(["owner/name"]))
    assert [document_of(RawFile(name, "a.py", "here", b"x = 1\n"), wanted)[1] for name in ("Owner/Name#2", "owner/name2")] == [
        "opt_out",
        "",
    ]


def test_repository_share_holds_in_tables(tmp_path: Path) -> None:
    rows = [
        {"content": f"x = {number:094d}\n", "repo_name": "big" if number % 4 else f"r{number}", "path": "a.py"} for number in range(400)
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = Corpus(sources=(Source("jsonl", str(tmp_path / "t.jsonl")),), max_bytes=15_000, max_repository_share=0.2)
    manifest = collect(corpus, 1, tmp_path / "out")
    by_repository = Counter(document["repository"] for document in documents_in(tmp_path / "out"))
    assert by_repository["big"] * 99 <= 3000 < (by_repository["big"] + 1) * 99
    assert len(by_repository) == 101
    assert manifest.counts["dropped:repository_share"] == 300 - by_repository["big"]
    assert adds_up(manifest)


def test_shards_of_archives_and_tables_do_not_depend_on_workers(checkouts: Path, tmp_path: Path) -> None:
    for number, package in enumerate(("json", "email", "html")):
        shutil.make_archive(str(tmp_path / f"{package}-{number}"), "gztar", checkouts / package)
    sources = (Source("archive", str(tmp_path / "*.tar.gz")), Source("folder", str(checkouts)))
    corpus = Corpus(sources=sources, max_bytes=300_000, max_repository_share=0.2)
    one = collect(corpus, 1, tmp_path / "one", Execution("pool", 1))
    two = collect(corpus, 1, tmp_path / "two", Execution("pool", 2))
    assert (one.outputs, one.counts) == (two.outputs, two.counts)


@pytest.mark.parametrize("max_bytes", [0, 1_000_000])
def test_a_sample_of_what_is_left_out_is_kept_by_rule(tmp_path: Path, max_bytes: int) -> None:
    (tmp_path / "in" / "r").mkdir(parents=True)
    for number in range(5):
        (tmp_path / "in" / "r" / f"{number}.py").write_bytes(b"x\0" if number else b"x = 1\n")
    (tmp_path / "in" / "r" / "a.rb").write_bytes(b"# \xe4\xe4\xe4\xe4")
    corpus = Corpus(sources=(Source("folder", str(tmp_path / "in")),), filters=Filters(rejects=3), max_bytes=max_bytes)
    manifest = collect(corpus, 1, tmp_path / "out")
    assert (manifest.counts["dropped:binary"], manifest.counts["dropped:encoding"]) == (4, 1)
    rejects = {path.stem: list(read_json_lines(path)) for path in (tmp_path / "out" / "rejects").iterdir()}
    assert {rule: len(rows) for rule, rows in rejects.items()} == {"binary": 3, "encoding": 1}
    (row,) = rejects["encoding"]
    assert (row["repository"], row["path"], row["size"], row["content"]) == ("r", "a.rb", 6, "# ����")


@pytest.mark.parametrize("languages", [("Markdown", "Text", "Python"), ("Python",), ()])
def test_prose_is_collected_where_it_is_named(tmp_path: Path, languages: tuple[str, ...]) -> None:
    texts = {"a.py": "x = 1\n", "README.md": "# A title\n", "notes.txt": "Notes.\n", "LICENSE": "MIT License\n"}
    (tmp_path / "in" / "r").mkdir(parents=True)
    for name, text in texts.items():
        (tmp_path / "in" / "r" / name).write_text(text)
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "in" / "r")
    rows = [{"content": "# A title\n", "path": "b.md"}, {"content": "x = 1\n", "lang": "Markdown", "path": "c"}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    places = (("folder", "in"), ("archive", "packed.zip"), ("jsonl", "t.jsonl"))
    sources = tuple(Source(kind, str(tmp_path / place)) for kind, place in places)  # type: ignore[arg-type]
    for max_bytes in (0, 1000):
        manifest = collect(Corpus(sources=sources, languages=languages, max_bytes=max_bytes), 1, tmp_path / f"out{max_bytes}")
        found = Counter((document["path"], document["language"]) for document in documents_in(tmp_path / f"out{max_bytes}"))
        prose = {
            ("README.md", "Markdown"): 2,
            ("notes.txt", "Text"): 2,
            ("LICENSE", "Text"): 2,
            ("b.md", "Markdown"): 1,
            ("c", "Markdown"): 1,
        }
        assert found == {("a.py", "Python"): 2, **(prose if "Text" in languages else {})}
        assert adds_up(manifest)


def test_a_repository_may_fill_the_corpus_whatever_else_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "in" / "r").mkdir(parents=True)
    for number in range(40):
        (tmp_path / "in" / "r" / f"{number}.py").write_bytes(b"x = 1\n" * 100 if number % 4 == 0 else b"\0" * 900)
    manifest = collect(Corpus(sources=(Source("folder", str(tmp_path / "in")),), max_bytes=6000), 1, tmp_path / "out")
    assert manifest.counts["kept_bytes"] == 6000
    assert "dropped:repository_share" not in manifest.counts


def test_what_is_too_large_takes_no_room_of_its_repository(tmp_path: Path) -> None:
    (tmp_path / "in" / "r").mkdir(parents=True)
    for number in range(40):
        (tmp_path / "in" / "r" / f"{number}.py").write_bytes(b"x = 1\n" * (100 if number % 4 == 0 else 101))
    corpus = Corpus(sources=(Source("folder", str(tmp_path / "in")),), max_bytes=12_000, max_repository_share=0.5, max_file_bytes=600)
    manifest = collect(corpus, 1, tmp_path / "out")
    assert manifest.counts["kept_bytes"] == 6000
    assert manifest.counts["dropped:too_large"] == 30
