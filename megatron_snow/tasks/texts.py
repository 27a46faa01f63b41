"""Every text of a benchmark's tasks (docstrings, prompts, solutions, tests), whatever the layout of its file.

A layout is known by its published field names. Those of DS-1000, GSM8K and APPS follow their publications
(xlang-ai/DS-1000, openai/grade-school-math, hendrycks/apps) and were not tried on the original files.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_snow.common.errors import UserError
from megatron_snow.tasks.loading import benchmark_path, records_of


@dataclass(frozen=True)
class Layout:
    """Field names of a benchmark's records: those that tell it from others, and those that hold text."""

    name: str
    marks: tuple[str, ...]
    prompts: tuple[str, ...]
    solutions: tuple[str, ...]
    tests: tuple[str, ...] = ()


_BIGCODEBENCH = ("complete_prompt", "instruct_prompt")
# The first whose marks a record has. A field of `prompts`, `solutions` or `tests` may be missing or null in a version.
LAYOUTS = (
    Layout("BigCodeBench", _BIGCODEBENCH, _BIGCODEBENCH, ("canonical_solution",), ("test",)),
    Layout("DS-1000", ("prompt", "reference_code"), ("prompt",), ("reference_code",), ("code_context",)),
    Layout("MBPP", ("code", "test_list"), ("text", "prompt"), ("code",), ("test_list", "challenge_test_list")),
    Layout("MBPP+", ("prompt", "canonical_solution", "assertion"), ("prompt",), ("canonical_solution",), ("assertion",)),
    Layout("MultiPL-E", ("prompt", "tests", "stop_tokens"), ("prompt",), ("canonical_solution",), ("tests",)),
    Layout("HumanEval", ("prompt", "canonical_solution"), ("prompt", "text"), ("canonical_solution",), ("test", "example_test")),
    Layout("EvoEval", ("prompt", "full_solution"), ("prompt",), ("full_solution",), ("test_cases",)),
    Layout("APPS", ("question", "solutions", "input_output"), ("question", "starter_code"), ("solutions",), ("input_output",)),
    Layout("GSM8K", ("question", "answer"), ("question",), ("answer",)),
)  # fmt: skip
_IDS = ("task_id", "problem_id", "name", "id")  # the first that a record has names its task, else its number in the file


@dataclass(frozen=True)
class TaskTexts:
    """The texts of one task as (kind, text), kind being docstring, prompt, solution or test."""

    task: str
    family: str  # the task without its language: MultiPL-E's ids are unique only with it
    texts: tuple[tuple[str, str], ...]
    programs: tuple[str, ...]  # solutions that are whole Python programs


def load_texts(name_or_path: str | Path) -> list[TaskTexts]:
    """The texts of a benchmark: a name that `load_benchmark` knows, or a file (JSON lines or array, plain or gzip, or Parquet).

    Ids need not be unique. UserError names the file and line of a record in no known layout, or without any text.
    """
    path = benchmark_path(name_or_path)
    tasks = []
    for number, (place, record) in enumerate(records_of(path)):
        texts = tuple(texts_of(record, place))
        if not texts:
            raise UserError(f"{place}: the fields of layout {_layout(record, place).name} hold no text; delete the line or restore it")
        family = _family(record, number)
        language = record.get("lang_file") or (record.get("language") if "stop_tokens" in record else None)
        tasks.append(TaskTexts(f"{family}/{language}" if language else family, family, texts, tuple(programs_of(record, place))))
    if not tasks:
        raise UserError(f"{path}: holds no problem; expected one JSON object a line")
    return tasks


def texts_of(record: Mapping[str, Any], place: str = "record") -> Iterator[tuple[str, str]]:
    """(kind, text) of each text of a record. Lists of solutions are one text each, the strings of tests are one text.

    Kinds are docstring (of a Python prompt), prompt (whole), solution and test. UserError with `place` for an unknown layout.
    """
    layout = _layout(record, place)
    for prompt in _strings(record, layout.prompts):
        yield from (("docstring", text) for text in docstrings(prompt))
        yield "prompt", prompt
    yield from (("solution", solution) for solution in _strings(record, layout.solutions))
    tests = "\n".join(_strings(record, layout.tests))
    if tests.strip():
        yield "test", tests


def programs_of(record: Mapping[str, Any], place: str = "record") -> Iterator[str]:
    """The solutions that are Python programs with a function: as they are, or after a prompt that they complete."""
    layout = _layout(record, place)
    prompts = list(_strings(record, layout.prompts))[:1]
    for solution in _strings(record, layout.solutions):
        whole = (program for program in (*(prompt + solution for prompt in prompts), solution) if _has_function(program))
        yield from list(whole)[:1]


def docstrings(prompt: str) -> list[str]:
    """The docstrings of a Python prompt; none where it has none or is not Python."""
    documented = [node for node in _nodes(prompt) if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))]
    return [text for node in documented if (text := ast.get_docstring(node))]


def _layout(record: Mapping[str, Any], place: str) -> Layout:
    for layout in LAYOUTS:
        if all(mark in record for mark in layout.marks):
            return layout
    known = "; ".join(f"{layout.name} ({', '.join(layout.marks)})" for layout in LAYOUTS)
    raise UserError(f"{place}: fields {', '.join(map(str, record)) or '(none)'} are of no known benchmark layout; known are {known}")


def _family(record: Mapping[str, Any], number: int) -> str:
    metadata = record.get("metadata")
    fields = {**metadata, **record} if isinstance(metadata, Mapping) else record  # DS-1000 has its ids there
    return next((str(fields[name]) for name in _IDS if fields.get(name) is not None), str(number))


def _strings(record: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        yield from (text for text in _flat(_decoded(record.get(name))) if text.strip())


def _decoded(value: Any) -> Any:
    """APPS holds lists as JSON text."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            pass
    return value


def _flat(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _flat(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _flat(item)


def _has_function(program: str) -> bool:
    return any(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) for node in _nodes(program))


def _nodes(text: str) -> list[ast.AST]:
    """The nodes of a Python text, none where it is not Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes: the text is not ours
        try:
            return list(ast.walk(ast.parse(text)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return []
