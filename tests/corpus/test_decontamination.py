"""HumanEval in disguise is found; what is not HumanEval stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_snow.config import Corpus, Decontamination
from megatron_snow.corpus.decontamination import index_of
from megatron_snow.corpus.decontamination.index import Index
from megatron_snow.corpus.decontamination.needles import MIN_WORDS, Needle
from megatron_snow.corpus.decontamination.search import HITS
from megatron_snow.corpus.stages import decontaminate
from megatron_snow.pipeline import read_documents
from megatron_snow.tasks import load_benchmark


@pytest.fixture(scope="module")
def index() -> Index:
    return index_of(("humaneval",), 10)


def test_every_problem_is_found_as_it_is_and_in_other_layout(index: Index) -> None:
    for problem in load_benchmark("humaneval"):
        whole = problem.prompt + problem.canonical_solution
        for text in (whole, " ".join(whole.upper().split()), whole.replace("\n", "\n\n    # ")):
            assert problem.task_id in {leak.task for leak in index.leaks(text)}


def test_solution_alone_is_found_unless_it_is_trivial(index: Index) -> None:
    found = [
        problem.task_id in {leak.task for leak in index.leaks(f"def f():\n{problem.canonical_solution}")}
        for problem in load_benchmark("humaneval")
    ]
    assert 164 - 25 <= sum(found) < 164
    assert 0 < index.trivial <= 25


def test_standard_library_is_clean(index: Index, checkouts: Path) -> None:
    """The rule against trivial needles holds: of 200 real files none is lost."""
    leaks = [leak for path in checkouts.rglob("*.py") for leak in index.leaks(path.read_text())]
    assert leaks == []


WORDS = ["alpha", "beta", "gamma", "delta", "x", "y", "z", "7", "8", "tau", "phi"]


def test_needle_boundaries() -> None:
    nine, eleven = " ".join(WORDS[:9]), " ".join(WORDS)
    index = Index([Needle("b", "short", "solution", nine), Needle("b", "long", "docstring", eleven)], 10)
    assert [leak.task for leak in index.leaks(f"q {nine} q")] == ["short"]
    assert [leak.task for leak in index.leaks("Alpha, BETA(gamma); delta.x y\nz-7 8")] == ["short"]
    assert [leak.task for leak in index.leaks("beta gamma delta x y z 7 8 tau phi")] == ["long"]  # ten of eleven words
    assert index.leaks(" ".join(WORDS[:8])) == []
    assert index.leaks(" ".join(WORDS[1:9])) == []
    assert index.leaks(" ".join(WORDS[2:])) == []


@pytest.mark.parametrize(
    "text",
    [
        " ".join(WORDS[: MIN_WORDS - 1]),
        "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]",
        "a, b, c, d, e, f, g, h, i, j, k",
        "for i in range(n) for j in range(n)",
    ],
)
def test_what_says_too_little_is_counted(text: str) -> None:
    index = Index([Needle("b", "t", "solution", text)], 10)
    assert index.trivial == 1
    assert index.leaks(text) == []


def test_shard_loses_the_leak_and_the_hit_is_written_down(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    problem = load_benchmark("humaneval")[3]
    leak = problem.prompt + problem.canonical_solution
    shard = write_shard(tmp_path / "in" / "s.parquet", {"content": "x = 1\n"}, {"content": leak, "path": "bank.py"})
    manifest = decontaminate(Corpus(), [shard], tmp_path / "out")
    assert [row["content"] for row in read_documents(tmp_path / "out" / "s.parquet")] == ["x = 1\n"]
    hits = [json.loads(line) for line in (tmp_path / "out" / f"s{HITS}").read_text().splitlines()]
    assert {(hit["benchmark"], hit["task"], hit["path"]) for hit in hits} >= {("humaneval", "HumanEval/3", "bank.py")}
    assert {hit["kind"] for hit in hits} == {"docstring", "prompt", "solution"}
    assert manifest.counts["dropped:benchmark_humaneval:Python"] == 1
    assert manifest.counts["kept"] == 1


def test_benchmark_file_is_part_of_the_key(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(tmp_path / "in" / "s.parquet", {"content": "alpha beta gamma delta epsilon zeta\n"})
    bank = tmp_path / "bank.jsonl"
    corpus = Corpus(decontamination=Decontamination((str(bank),)))
    for solution, kept in (("nothing of the kind at all here", 1), ("alpha beta gamma delta epsilon zeta", 0)):
        problem = {"task_id": "t/0", "prompt": "", "entry_point": "f", "canonical_solution": solution, "test": ""}
        bank.write_text(json.dumps(problem) + "\n")
        assert decontaminate(corpus, [shard], tmp_path / "out").counts.get("kept", 0) == kept


def test_without_benchmarks_all_stays(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(tmp_path / "in" / "s.parquet", {"content": "x = 1\n"})
    assert decontaminate(Corpus(decontamination=Decontamination(())), [shard], tmp_path / "out").counts["kept"] == 1
