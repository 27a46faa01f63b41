"""HumanEval in disguise is found, what is not HumanEval stays, and the stage says what it did."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_snow.common.records import read_json, read_json_lines
from megatron_snow.config import Corpus, Decontamination
from megatron_snow.corpus.decontamination import index_of
from megatron_snow.corpus.decontamination.index import Index
from megatron_snow.corpus.decontamination.report import REPORT, table_of
from megatron_snow.corpus.decontamination.search import HITS
from megatron_snow.corpus.stages import decontaminate
from megatron_snow.pipeline import Execution, read_documents
from megatron_snow.tasks import load_benchmark, load_texts


@pytest.fixture(scope="module")
def index() -> Index:
    return index_of(("humaneval",), 10)


@pytest.fixture(scope="module")
def real(checkouts: Path) -> list[str]:
    return [path.read_text() for path in sorted(checkouts.rglob("*.py"))]


DISGUISES: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "one line, upper case": lambda text: " ".join(text.upper().split()),
    "as comments": lambda text: text.replace("\n", "\n\n    # "),
    "other punctuation": lambda text: re.sub(r"[^\w\s]+", " ~~ ", text),
    "indented by tabs": lambda text: text.replace("\n", "\r\n\t\t"),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_every_problem_is_found_in_a_real_file(index: Index, real: list[str], disguise: str) -> None:
    """All 164, by the prompt alone; the span is where it was planted."""
    for number, problem in enumerate(load_benchmark("humaneval")):
        host, planted = real[number % len(real)], DISGUISES[disguise](problem.prompt)
        middle = host.find("\n", len(host) // 2)
        text = f"{host[:middle]}\n{planted}\n{host[middle:]}"
        (leak, *others) = [leak for leak in index.leaks(text) if leak.kind == "prompt" and leak.task == problem.task_id]
        assert not others
        assert middle <= leak.start < leak.end <= middle + len(planted) + 1
        assert text[leak.start : leak.end].startswith(leak.text)


def test_docstring_alone_is_found(index: Index, real: list[str]) -> None:
    """All 163; HumanEval/115 has none."""
    missed = []
    for number, task in enumerate(load_texts("humaneval")):
        texts = [text for kind, text in task.texts if kind == "docstring"]
        leaks = index.leaks(real[number % len(real)] + "\n# ".join(["", *"\n".join(texts).split("\n")]))
        if texts and (task.task, "docstring") not in {(leak.task, leak.kind) for leak in leaks}:
            missed.append(task.task)
    assert missed == []


def test_solution_alone_is_found_unless_it_is_trivial(index: Index) -> None:
    trivial = {needle.task for needle, reason in zip(index.needles, index.reasons) if reason and needle.kind == "solution"}
    assert {"HumanEval/23", "HumanEval/28", "HumanEval/41", "HumanEval/53"} < trivial  # BigCode's four
    assert len(trivial) == 22
    for problem in load_benchmark("humaneval"):
        tasks = {leak.task for leak in index.leaks(f"def f():\n{problem.canonical_solution}") if leak.kind == "solution"}
        assert (problem.task_id in tasks) == (problem.task_id not in trivial)


def test_standard_library_is_clean(index: Index, real: list[str]) -> None:
    """The rule against trivial needles holds: of 200 real files none is lost."""
    assert [leak for text in real for leak in index.leaks(text)] == []


def published(*names: str) -> list[str]:
    paths = [Path(os.environ.get("MEGATRON_SNOW_BENCHMARKS", "")) / f"{name}.jsonl.gz" for name in names]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        pytest.skip(f"{missing[0]} is not in the folder that MEGATRON_SNOW_BENCHMARKS names")
    return [str(path) for path in paths]


def test_every_published_solution_is_found_or_listed(real: list[str]) -> None:
    names = published("humanevalplus-v0.1.10", "mbpp-full", "mbppplus-v0.2.0", "evoeval-difficult", "bigcodebench-v0.1.0-hf")
    index = index_of(names, 10)
    listed = {
        (needle.benchmark, needle.task) for needle, reason in zip(index.needles, index.reasons) if reason and needle.kind == "solution"
    }
    wanted = {(needle.benchmark, needle.task): needle.text for needle in index.needles if needle.kind == "solution"}
    for number, (key, text) in enumerate(sorted(wanted.items())):
        leaks = index.leaks(real[number % len(real)][:2000] + "\n" + " ".join(text.split()))
        assert ((*key, "solution") in {(leak.benchmark, leak.task, leak.kind) for leak in leaks}) == (key not in listed), key
    assert len(listed) < len(wanted) / 20


def test_shard_loses_the_leak_and_all_is_written_down(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    problem = load_benchmark("humaneval")[3]
    leak = "# é\n" + problem.prompt + problem.canonical_solution
    shard = write_shard(tmp_path / "in" / "s.parquet", {"content": "x = 1\n"}, {"content": leak, "path": "bank.py"})
    manifest = decontaminate(Corpus(), [shard], tmp_path / "out")
    assert [row["content"] for row in read_documents(tmp_path / "out" / "s.parquet")] == ["x = 1\n"]
    hits = list(read_json_lines(tmp_path / "out" / f"s{HITS}"))
    assert {(hit["benchmark"], hit["task"], hit["path"], hit["repository"]) for hit in hits} == {
        ("humaneval", "HumanEval/3", "bank.py", "a/b")
    }
    assert [hit["kind"] for hit in hits] == ["prompt", "docstring", "solution"]
    assert all(leak[hit["start"] : hit["end"]].startswith(hit["text"]) for hit in hits)
    assert manifest.counts["dropped:benchmark_humaneval:Python"] == 1
    assert manifest.counts["kept"] == 1
    (rejected,) = read_json_lines(tmp_path / "out" / "rejects" / "benchmark_humaneval.jsonl")
    assert rejected["path"] == "bank.py"
    report = read_json(tmp_path / "out" / REPORT)
    assert report["documents"] == {"documents": 2, "kept": 1, "dropped": 1}
    entry = report["benchmarks"]["humaneval"]
    assert (entry["problems"], entry["tasks_hit"], entry["documents_hit"]) == (164, 1, 1)
    assert entry["hits"] == {"docstring": 1, "prompt": 1, "solution": 1, "test": 0}
    assert entry["most_hit"] == [{"task": "HumanEval/3", "documents": 1}]
    assert table_of(report).splitlines()[1].split()[:4] == ["humaneval", "164", "1", "1"]


def test_without_benchmarks_all_stays(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(tmp_path / "in" / "s.parquet", {"content": "x = 1\n"})
    assert decontaminate(Corpus(decontamination=Decontamination(())), [shard], tmp_path / "out").counts["kept"] == 1


def test_two_workers_write_the_same_bytes(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    problems = load_benchmark("humaneval")
    shards = [write_shard(tmp_path / "in" / f"{k}.parquet", {"content": problems[k].prompt}, {"content": f"x = {k}\n"}) for k in range(3)]
    for name, execution in (("a", Execution()), ("b", Execution("pool", 2))):
        decontaminate(Corpus(), shards if name == "a" else shards[::-1], tmp_path / name, execution)
    for path in (tmp_path / "a").glob("*"):
        if path.is_file() and path.name != "manifest.json":  # it has the seconds
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
