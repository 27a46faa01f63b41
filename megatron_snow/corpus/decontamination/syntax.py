"""Python functions by their normalised syntax: what stays when names, order, comments and annotations change.

A statement's form is its tree without its body: names by their order of appearance in the statement (built-in
names as they are), attributes and constants as they are; docstrings, annotations and `pass` are left out.
"""

from __future__ import annotations

import ast
import builtins
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

Shape = tuple[tuple[str, int], ...]  # how many statements of each type, by name of the type

_BUILTIN = frozenset(name for name in dir(builtins) if not name.startswith("_"))
_LEFT_OUT = frozenset(
    ("body", "orelse", "finalbody", "handlers", "cases", "annotation", "returns", "decorator_list", "ctx", "type_comment", "name", "simple")
)
_BODIES = ("body", "orelse", "finalbody", "handlers", "cases")
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(frozen=True)
class Function:
    """A function of a source text: its name, lines, and its statements, itself included."""

    name: str
    line: int
    end_line: int
    statements: tuple[ast.AST, ...]
    shape: Shape


def functions_in(source: str) -> list[Function]:
    """Every function of a Python text, nested ones and methods too; none where it does not parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes: the text is not ours
        try:
            tree = ast.parse(source)
            return [_function(node) for node in _statements(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        except _UNREADABLE:
            return []


def forms(function: Function) -> Iterator[str]:
    """The forms of a function's statements, names numbered in each on its own."""
    return (_form(statement, {}) for statement in function.statements)


def whole_form(function: Function) -> str:
    """The form of the whole function, names numbered through all of it: equal where only names differ."""
    names: dict[str, str] = {}
    return ";".join(_form(statement, names) for statement in function.statements)


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Function:
    statements = tuple(_statements(node))
    shape = tuple(sorted(Counter(type(statement).__name__ for statement in statements).items()))
    return Function(node.name, node.lineno, node.end_lineno or node.lineno, statements, shape)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """A node (but a module) and all statements below it that do something, in order."""
    if isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return
    if not isinstance(node, ast.Module):
        yield node
    for body in _BODIES:
        for child in getattr(node, body, ()):
            yield from _statements(child)


def _form(node: object, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return node.id if node.id in _BUILTIN else names.setdefault(node.id, f"${len(names)}")
    if isinstance(node, ast.arg):
        return names.setdefault(node.arg, f"${len(names)}")
    if isinstance(node, ast.Constant):
        return repr(node.value)
    if isinstance(node, ast.alias):
        return node.name
    if isinstance(node, ast.AnnAssign):
        return f"Assign([{_form(node.target, names)}],{_form(node.value, names)})"
    if isinstance(node, (ast.Lambda, ast.IfExp)):  # their body is an expression
        return f"{type(node).__name__}({','.join([_form(getattr(node, name), names) for name in node._fields])})"
    if isinstance(node, ast.AST):
        fields = [_form(getattr(node, name, None), names) for name in node._fields if name not in _LEFT_OUT]
        return f"{type(node).__name__.removeprefix('Async')}({','.join(fields)})"
    if isinstance(node, list):
        return f"[{','.join([_form(item, names) for item in node])}]"
    return str(node)
