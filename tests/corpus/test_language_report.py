"""The confusion report: counted by ending, whatever the workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_snow.cli.main import run_verb
from megatron_snow.corpus.language_report import REPORT, language_report
from megatron_snow.pipeline import Execution

DOCUMENTS = [
    ("a.h", "C", "int f(void);\n"),
    ("b.h", "C++", "namespace b {}\n"),
    ("c.h", "C", "class C {};\n"),  # the source was wrong
    ("d.py", "Python", "x = 1\n"),
    ("bin/run", "Shell", "#!/bin/sh\necho\n"),
    ("Makefile", "", "all:\n"),
    ("e.unheard-of", "Python", "x\n"),
    ("f.a\tb", "", "x\n"),
]


@pytest.fixture
def shards(write_shard: Callable[..., Path], tmp_path: Path) -> list[Path]:
    rows = [{"path": path, "language": language, "content": content} for path, language, content in DOCUMENTS]
    return [write_shard(tmp_path / "in" / "a.parquet", *rows[:3]), write_shard(tmp_path / "in" / "b.parquet", *rows[3:])]


def test_confusions_are_counted(shards: list[Path], tmp_path: Path) -> None:
    report = language_report(shards, tmp_path / "out")
    assert report == language_report(shards, tmp_path / "two", Execution("pool", 2))
    assert report == json.loads((tmp_path / "out" / REPORT).read_text())
    assert report["documents"] == 8
    assert report["by_ending"] == {
        "agree": round(6 / 8, 6),
        "confusions": [
            {"ending": "(none)", "usual": "Shell", "linguist": "Makefile", "documents": 1},
            {"ending": ".h", "usual": "C++", "linguist": "C", "documents": 1},
        ],
    }
    assert report["by_source"] == {
        "agree": round(6 / 8, 6),
        "confusions": [
            {"ending": ".h", "said": "C", "linguist": "C++", "documents": 1},
            {"ending": ".unheard-of", "said": "Python", "linguist": "(none)", "documents": 1},
        ],
    }


def test_the_verb_prints_the_largest(shards: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb("language_report", ["--input", str(shards[0].parent), "--output", str(tmp_path / "out")]) == 0
    assert ".h         C++                      -> C" in capsys.readouterr().out


def test_nothing_to_compare(write_shard: Callable[..., Path], tmp_path: Path) -> None:
    report = language_report([write_shard(tmp_path / "a.parquet")], tmp_path / "out")
    assert report == {"documents": 0} | {key: {"agree": None, "confusions": []} for key in ("by_ending", "by_source")}
