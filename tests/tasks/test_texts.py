"""Every text of a task comes out of any published layout; an unknown layout is named."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.tasks import load_texts, texts_of
from megatron_snow.tasks.texts import docstrings, programs_of

PROMPT = 'def f(x):\n    """Add one."""\n'
HUMANEVAL = {"task_id": "T/0", "prompt": PROMPT, "canonical_solution": "    return x + 1\n", "test": "assert f(1) == 2", "entry_point": "f"}


@pytest.mark.parametrize(
    ("record", "texts"),
    [
        (HUMANEVAL, [("docstring", "Add one."), ("prompt", PROMPT), ("solution", "    return x + 1\n"), ("test", "assert f(1) == 2")]),
        (  # BigCodeBench
            {"task_id": "B/0", "complete_prompt": PROMPT, "instruct_prompt": "Do.", "canonical_solution": "    pass", "test": "t"},
            [("docstring", "Add one."), ("prompt", PROMPT), ("prompt", "Do."), ("solution", "    pass"), ("test", "t")],
        ),
        (  # MBPP full; an empty list of tests gives no text
            {"task_id": 1, "text": "Add.", "code": "def f(): 1", "test_list": ["a", "b"], "challenge_test_list": []},
            [("prompt", "Add."), ("solution", "def f(): 1"), ("test", "a\nb")],
        ),
        (  # MBPP+
            {"task_id": "Mbpp/1", "prompt": '"""\nAdd.\n"""\n', "canonical_solution": "def f(): 1", "assertion": "assert f()"},
            [("docstring", "Add."), ("prompt", '"""\nAdd.\n"""\n'), ("solution", "def f(): 1"), ("test", "assert f()")],
        ),
        (  # EvoEval
            {"task_id": "E/0", "prompt": "p q", "full_solution": "s", "test_cases": [["[1, 'a']", "yes"], ["2", None]]},
            [("prompt", "p q"), ("solution", "s"), ("test", "[1, 'a']\nyes\n2")],
        ),
        (  # MultiPL-E: no solutions
            {"name": "H_0", "language": "cpp", "prompt": "// Add", "tests": "assert(1)", "stop_tokens": ["\n}"]},
            [("prompt", "// Add"), ("test", "assert(1)")],
        ),
        (  # DS-1000
            {"prompt": "Problem: add", "reference_code": "x + 1", "code_context": "def check(): 1", "metadata": {"problem_id": 7}},
            [("prompt", "Problem: add"), ("solution", "x + 1"), ("test", "def check(): 1")],
        ),
        ({"question": "How many?", "answer": "#### 3"}, [("prompt", "How many?"), ("solution", "#### 3")]),  # GSM8K
        (  # APPS: JSON text inside
            {"question": "Sum.", "solutions": '["print(1)", "print(2)"]', "input_output": '{"inputs": ["1 2"], "outputs": ["3"]}'},
            [("prompt", "Sum."), ("solution", "print(1)"), ("solution", "print(2)"), ("test", "1 2\n3")],
        ),
    ],
)  # fmt: skip
def test_layouts(record: dict, texts: list[tuple[str, str]]) -> None:
    assert list(texts_of(record)) == texts


def test_unknown_layout_names_the_line_and_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "quiz.jsonl"
    path.write_text(json.dumps(HUMANEVAL) + '\n{"riddle": "?"}\n')
    with pytest.raises(
        UserError, match=r"quiz.jsonl:2: fields riddle are of no known benchmark layout; known are .*GSM8K \(question, answer\)"
    ):
        load_texts(path)


def test_record_without_text_and_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text('{"question": " ", "answer": null}\n')
    with pytest.raises(UserError, match=r"b.jsonl:1: the fields of layout GSM8K hold no text"):
        load_texts(path)
    path.write_text("\n")
    with pytest.raises(UserError, match="holds no problem"):
        load_texts(path)


def test_ids_may_repeat_and_languages_tell_them_apart(tmp_path: Path) -> None:
    path = tmp_path / "multi.jsonl"
    record = {"task_id": "H_0", "prompt": "p", "tests": "t", "stop_tokens": []}
    path.write_text("".join(json.dumps(record | {"lang_file": language}) + "\n" for language in ("cpp", "rs", "rs")))
    tasks = load_texts(path)
    assert [task.task for task in tasks] == ["H_0/cpp", "H_0/rs", "H_0/rs"]
    assert {task.family for task in tasks} == {"H_0"}


def test_ids_of_ds1000_lie_in_the_metadata_and_gsm8k_has_none(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    records = [{"prompt": "p", "reference_code": "r", "metadata": {"problem_id": 7}}, {"question": "q", "answer": "a"}]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert [task.task for task in load_texts(path)] == ["7", "1"]


def test_jsonl_gzip_array_and_parquet_are_equal(tmp_path: Path) -> None:
    records = [HUMANEVAL, HUMANEVAL | {"task_id": "T/1"}]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "a.json").write_text(json.dumps(records))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    read = [load_texts(tmp_path / f"a.{suffix}") for suffix in ("jsonl", "jsonl.gz", "json", "parquet")]
    assert read[0] == read[1] == read[2] == read[3]
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"b.parquet: damaged Parquet file"):
        load_texts(tmp_path / "b.parquet")
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(UserError, match=r"b.json: a .json file of problems is an array, this is dict"):
        load_texts(tmp_path / "b.json")


def test_docstrings_of_prompts() -> None:
    assert docstrings(PROMPT) == ["Add one."]
    assert docstrings("function f() {") == []
    assert docstrings("x = 1\n") == []


def test_programs_are_whole_python() -> None:
    assert list(programs_of(HUMANEVAL)) == [PROMPT + "    return x + 1\n"]
    assert list(programs_of({"question": "q", "answer": "x = 1"})) == []  # no function
    assert list(programs_of({"prompt": "fn f() {", "canonical_solution": "1 }"})) == []  # no Python


def test_humaneval_of_the_package() -> None:
    tasks = load_texts("humaneval")
    assert len(tasks) == 164
    without = [task.task for task in tasks if {kind for kind, _ in task.texts} != {"docstring", "prompt", "solution", "test"}]
    assert without == ["HumanEval/115"]  # its string stands after an import: no docstring
    assert all(len(task.programs) == 1 for task in tasks)


@pytest.mark.parametrize(
    ("name", "count", "kinds"),
    [
        ("humanevalplus-v0.1.10", 164, {"docstring", "prompt", "solution", "test"}),
        ("mbpp-full", 974, {"prompt", "solution", "test"}),
        ("mbpp-sanitized", 427, {"prompt", "solution", "test"}),
        ("mbppplus-v0.2.0", 378, {"docstring", "prompt", "solution", "test"}),
        ("evoeval-difficult", 100, {"docstring", "prompt", "solution", "test"}),
        ("bigcodebench-v0.1.0-hf", 1140, {"docstring", "prompt", "solution", "test"}),
        ("multipl-e-humaneval", 3028, {"docstring", "prompt", "solution", "test"}),
    ],
)
def test_published_files(name: str, count: int, kinds: set[str]) -> None:
    path = Path(os.environ.get("MEGATRON_SNOW_BENCHMARKS", "")) / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not in the folder that MEGATRON_SNOW_BENCHMARKS names")
    tasks = load_texts(path)
    assert len(tasks) == count
    assert {kind for task in tasks for kind, _ in task.texts} == kinds
    assert all({"prompt"} <= {kind for kind, _ in task.texts} for task in tasks)
