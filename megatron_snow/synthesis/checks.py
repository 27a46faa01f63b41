"""What is accepted of a model's answer.

Python must parse, define a function or a class, and be long enough to teach something. For other
languages only presence and length are checked: there is no parser for them here, and the counts of
the stage say how many documents were taken so ("accepted_unparsed").
"""

from __future__ import annotations

import ast
import re
import warnings

MIN_CHARACTERS = 120

_BLOCK = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)


def extract_code(answer: str) -> tuple[str, str]:
    """(code, "") of the longest fenced block of an answer, or ("", reason): "unfinished" where the only block is not closed."""
    blocks = _BLOCK.findall(answer)
    if not blocks:
        return "", "unfinished" if "```" in answer else "no_code_block"
    return max(blocks, key=len).strip("\n") + "\n", ""


def refuse(code: str, language: str, seed: str) -> str:
    """Why a code file is not accepted, "" when it is."""
    if len(code.strip()) < MIN_CHARACTERS:
        return "too_short"
    if _squeezed(code) in _squeezed(seed):
        return "copy_of_seed"
    return _refuse_python(code) if language == "Python" else ""


def _refuse_python(code: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in what a model wrote is not our user's business
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # ValueError: null bytes
        return "does_not_parse"
    defines = any(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for node in ast.walk(tree))
    return "" if defines else "no_definition"


def _squeezed(text: str) -> str:
    return "".join(text.split())
