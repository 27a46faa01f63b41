"""Training, held out and test: apart by repository, on real repositories."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from megatron_snow.cli.main import run_verb
from megatron_snow.common.records import read_manifest
from megatron_snow.common.splits import finer_splits
from megatron_snow.config import Corpus, Source
from megatron_snow.corpus.grouping.held_out import hold_out
from megatron_snow.corpus.grouping.survey import finer_units
from megatron_snow.corpus.stages import collect, group
from megatron_snow.pipeline import Execution, read_documents, shards_in

Rows = list[dict[str, Any]]
PARTS = ("grouped", "held_out", "test")


def rows_of(folder: Path) -> Rows:
    return [row for shard in sorted(folder.glob("*.parquet")) for row in read_documents(shard)]


def names(rows: Rows) -> list[str]:
    return sorted(f"{row['repository']}/{row['path']}#{row['id']}" for row in rows)


@pytest.fixture(scope="module")
def collected(checkouts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten Python repositories, C headers in one folder tree of one repository, SQL in one folder of two repositories."""
    root = tmp_path_factory.mktemp("more")
    for repository in ("one", "two"):
        for n in range(12):
            path = root / repository / "db" / f"part{n % 4}" / f"{n}.sql"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"SELECT {n} FROM {repository};\n")
    for n in range(30):
        (root / "perl" / f"lib{n % 6}").mkdir(parents=True, exist_ok=True)
        (root / "perl" / f"lib{n % 6}" / f"{n}.pm").write_text(f"package P{n};\nuse strict;\nsub f {{ return {n}; }}\n1;\n")
    folder = tmp_path_factory.mktemp("collected")
    collect(Corpus(sources=(Source("folder", str(checkouts)), Source("folder", str(root)))), 1, folder)
    return folder


def grouped(collected: Path, folder: Path, workers: int = 1, **settings: Any) -> dict[str, Rows]:
    corpus, outputs = Corpus(**settings), [folder / part for part in PARTS]
    group(corpus, 1, shards_in(collected), outputs[0], outputs[1], Execution("pool", workers), outputs[2])
    return {part: rows_of(output) for part, output in zip(PARTS, outputs)}


@pytest.mark.parametrize("grouping", ["file", "repo", "language-repo", "repo-language"])
def test_the_splits_share_no_repository_and_lose_nothing(collected: Path, tmp_path: Path, grouping: str) -> None:
    parts = grouped(collected, tmp_path, held_out_share=0.1, test_share=0.15, grouping=grouping)
    assert names([row for rows in parts.values() for row in rows]) == names(rows_of(collected))
    python = {part: {row["repository"] for row in rows if row["language"] == "Python"} for part, rows in parts.items()}
    assert all(python.values())
    assert sum(map(len, python.values())) == len(set.union(*python.values())) == 10
    assert all(row["group"] == f"{row['language']}/{row['repository']}" for part in PARTS[1:] for row in parts[part])


def test_shares_are_met(collected: Path, tmp_path: Path) -> None:
    parts = grouped(collected, tmp_path, held_out_share=0.1, test_share=0.2)
    for language in ("Python", "Perl", "SQL"):
        sizes = {part: sum(row["size"] for row in rows if row["language"] == language) for part, rows in parts.items()}
        assert 0.05 <= sizes["held_out"] / sum(sizes.values()) <= 0.15, language
        assert 0.1 <= sizes["test"] / sum(sizes.values()) <= 0.3, language


def test_a_test_split_does_not_change_what_is_held_out(collected: Path, tmp_path: Path) -> None:
    without = grouped(collected, tmp_path / "without", held_out_share=0.1)
    with_test = grouped(collected, tmp_path / "with", held_out_share=0.1, test_share=0.15, grouping="repo")
    assert not (tmp_path / "without" / "test").exists()
    assert with_test["held_out"] == without["held_out"]
    moved = set(names(without["grouped"])) - set(names(with_test["grouped"]))
    assert moved == set(names(with_test["test"]))


def test_few_repositories_are_split_by_top_level_folder_and_marked(collected: Path, tmp_path: Path) -> None:
    parts = grouped(collected, tmp_path, held_out_share=0.2, test_share=0.2)
    folders = {part: {row["path"].split("/")[0] for row in rows if row["language"] == "Perl"} for part, rows in parts.items()}
    assert all(folders.values())
    assert sum(map(len, folders.values())) == 6  # none in two splits
    marks = {part: finer_splits(manifest.counts) for part in PARTS if (manifest := read_manifest(tmp_path / part))}
    assert "Perl: by folder (1 repository)" in marks["held_out"]
    assert "Perl: by folder (1 repository)" in marks["test"]
    assert "SQL: by subfolder (2 repositories)" in marks["held_out"]  # each has one top-level folder
    assert not any("Python" in mark for part in PARTS for mark in marks[part])
    assert marks["grouped"] == []


def test_the_test_split_does_not_depend_on_workers_and_goes_with_its_share(collected: Path, tmp_path: Path) -> None:
    one = grouped(collected, tmp_path / "a", held_out_share=0.1, test_share=0.1)
    assert grouped(collected, tmp_path / "b", 2, held_out_share=0.1, test_share=0.1, memory_bytes=10_000_000) == one
    assert one["test"]
    again = grouped(collected, tmp_path / "a", held_out_share=0.1)
    assert again["test"] == []
    assert again["held_out"] == one["held_out"]
    assert names(again["grouped"]) == names(one["grouped"] + one["test"])


@pytest.mark.parametrize("level", ["repository", "folder", "subfolder", "document"])
def test_what_is_taken_is_not_chosen_again(tmp_path: Path, write_shard: Callable[..., Path], level: str) -> None:
    """Of 60 documents, with shares so large that nearly all of what is left is chosen; one unit is left to train on."""
    places = {
        "repository": [(f"r{n % 5}", f"a/{n}.py") for n in range(60)],
        "folder": [("r", f"d{n % 5}/x/{n}.py") for n in range(60)],
        "subfolder": [("r", f"d/x{n % 5}/{n}.py") for n in range(60)],
        "document": [("r", f"d/{n}.py") for n in range(60)],
    }
    rows = [{"repository": r, "path": p, "size": 100, "content": f"{r}/{p}"} for r, p in places[level]]
    finer = partial(finer_units, "Python", pieces=[(write_shard(tmp_path / "s.parquet", *rows), None)])
    held = hold_out(finer("repository", None), finer, 0.4, 1, "Python")
    test = hold_out(finer("repository", None), finer, 0.4, 1, "Python", split="test", taken=held)
    assert held.level == test.level == level
    assert held.names
    assert test.names
    assert not held.names & test.names
    documents = sum(sum(one.units["documents"].to_pylist()) for one in (held, test))
    assert 30 <= documents < 60


def test_group_corpus_says_what_is_split_how(collected: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--input", str(collected), "--output", str(tmp_path / "grouped"), "--held-out-share", "0.2"]
    assert run_verb("group_corpus", [*arguments, "--test-share", "0.2"]) == 0
    printed = capsys.readouterr().out
    count = len(rows_of(tmp_path / "test"))
    assert count > 0
    assert f"{tmp_path / 'test'}: {count:,} documents held out\n" in printed
    assert printed.count("  Perl: by folder (1 repository)\n") == 2
    assert run_verb("group_corpus", [*arguments, "--test-share", "0.2", "--test", str(tmp_path / "held_out")]) == 2
    assert "is --held-out itself" in capsys.readouterr().err
    assert run_verb("group_corpus", [*arguments, "--test-share", "0.7"]) == 2
    assert "corpus.test_share: 0.7 is not in [0, 0.5)" in capsys.readouterr().err
