"""One problem, and the layouts of records that it is read from: HumanEval's and MBPP's."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HUMANEVAL_FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
MBPP_FIELDS = ("task_id", "code", "test_list")  # and the sentence: `text` in the full set, `prompt` in the sanitized one


@dataclass(frozen=True)
class Problem:
    """A prompt to complete. A completion solves it when prompt + completion + test + check(entry_point) runs without an error."""

    task_id: str
    prompt: str
    entry_point: str  # name of the function that the test calls
    canonical_solution: str  # what follows the prompt
    test: str  # defines check(candidate)
    language: str = "Python"


class FieldError(ValueError):
    """A record lacks a field or holds another type."""


def problem_of(record: Mapping[str, Any]) -> Problem:
    """A Problem from a record of HumanEval's or MBPP's layout; FieldError names the field that is wrong."""
    if "test_list" in record:
        return _of_mbpp(record)
    values = {name: _text(record, name) for name in HUMANEVAL_FIELDS}
    return Problem(**values, language=str(record.get("language") or "Python"))


def _field(record: Mapping[str, Any], name: str) -> Any:
    if name not in record:
        raise FieldError(f"field {name!r} is missing; it has {', '.join(map(str, record)) or 'none'}")
    return record[name]


def _text(record: Mapping[str, Any], name: str) -> str:
    value = _field(record, name)
    if name == "task_id" and isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise FieldError(f"field {name!r} is {type(value).__name__}, not text")
    return value


def _lines(record: Mapping[str, Any], name: str) -> list[str]:
    value = _field(record, name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise FieldError(f"field {name!r} is not a list of text")
    return value


def _of_mbpp(record: Mapping[str, Any]) -> Problem:
    """The prompt shows the sentence and the first assertion in a docstring, after InCoder (arXiv 2204.05999) and EvalPlus."""
    sentence = _text(record, "text" if "text" in record else "prompt").strip()
    code = _text(record, "code").replace("\r\n", "\n")
    assertions = _lines(record, "test_list")
    if not assertions:
        raise FieldError("field 'test_list' is empty")
    setup = [str(record.get("test_setup_code") or ""), *record.get("test_imports", [])]
    body = textwrap.indent("\n".join(assertions).replace("\r\n", "\n"), "    ")
    entry_point = _called(code, assertions[0])
    head = f"def check(candidate, {entry_point}={entry_point}):"  # the default keeps a solution that is itself named check
    return Problem(
        task_id=f"Mbpp/{_text(record, 'task_id')}",
        prompt=f'"""\n{sentence}\n{assertions[0]}\n"""\n',
        entry_point=entry_point,
        canonical_solution=code,
        test="\n".join([*filter(None, setup), "", head, body, ""]),
    )


def _called(code: str, assertion: str) -> str:
    """The function of `code` that `assertion` calls (MBPP does not name it)."""
    try:
        defined = {node.name for node in ast.walk(ast.parse(code)) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        names = [node.id for node in ast.walk(ast.parse(assertion.strip())) if isinstance(node, ast.Name) and node.id in defined]
    except SyntaxError as error:
        raise FieldError(f"fields 'code' and 'test_list' are not Python ({error.msg})") from error
    if not names:
        raise FieldError("field 'test_list' calls no function that field 'code' defines")
    return names[0]
