"""What OpenCoder's Python profile asks of the syntax tree. Parsing is about 6 MB/s a core, so these rules come last."""

from __future__ import annotations

import ast
import contextlib
import gc
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from megatron_snow.corpus.filters.characters import Rows, Values, strings_of
from megatron_snow.pipeline import Texts

COUNTED = ("parses", "functions", "trivial_functions", "classes", "class_variables", "variables")


_COMPOUND = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.For, ast.AsyncFor, ast.While, ast.If, ast.With, ast.AsyncWith, ast.Try,
    ast.TryStar, ast.Match, ast.ExceptHandler, ast.match_case,
)  # fmt: skip


def read_trees(texts: Texts, rows: Rows) -> Mapping[str, Values]:
    """COUNTED of Python texts: parses is 0 or 1, the rest NaN where it is 0."""
    with warnings.catch_warnings(), _no_collection():
        warnings.simplefilter("ignore")  # "\d" in a text that is none of ours
        table = np.array(list(map(_counted_in, strings_of(texts, rows))), np.float64).reshape(-1, len(COUNTED))
    return dict(zip(COUNTED, table.T))


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Trees have no cycles; looking for some in them takes 40 % of the parsing time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _counted_in(text: str) -> list[float]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # MemoryError: too deeply nested for the parser
        return [0.0, *[float("nan")] * (len(COUNTED) - 1)]
    counts = Counter[str]()
    for statement in _statements(tree):
        _count(statement, counts)
    return [1.0, *(float(counts[name]) for name in COUNTED[1:])]


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Every statement; expressions hold none, so they are not entered."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.stmt):
            yield node
        if isinstance(node, _COMPOUND):
            for name in ("body", "orelse", "finalbody", "handlers", "cases"):
                waiting.extend(getattr(node, name, ()))


def _count(statement: ast.stmt, counts: Counter[str]) -> None:
    """OpenCoder's counts: assigned names, loop variables and parameters are variables; annotations and `with` give none."""
    if isinstance(statement, ast.Assign):
        counts["variables"] += sum(isinstance(target, ast.Name) for target in statement.targets)
    elif isinstance(statement, ast.FunctionDef):
        counts["functions"] += 1
        counts["trivial_functions"] += len(statement.body) == 1 and isinstance(statement.body[0], ast.Return)
        counts["variables"] += len(statement.args.args)
    elif isinstance(statement, ast.For):
        counts["variables"] += isinstance(statement.target, ast.Name)
    elif isinstance(statement, ast.ClassDef):
        counts["classes"] += 1
        counts["class_variables"] += sum(map(_class_variables, statement.body))


def _class_variables(statement: ast.stmt) -> int:
    if isinstance(statement, ast.Assign):
        return sum(isinstance(target, ast.Name) for target in statement.targets)
    return int(isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name))
