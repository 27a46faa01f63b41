"""SPDX expressions by their tokens: what is one, how much of a line is one, and several joined (SPDX 2.3, annex D)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_TOKEN = re.compile(r"[()]|[^\s()]+")


def tokens_of(text: str) -> list[str]:
    """Brackets, operators and names of an expression."""
    return _TOKEN.findall(text)


def is_operator(token: str) -> bool:
    """AND, OR or WITH, in small letters too."""
    return token.upper() in ("AND", "OR", "WITH")


def is_expression(tokens: Sequence[str]) -> bool:
    """Whether all the tokens make one expression: operators between names, and brackets in pairs."""
    return bool(tokens) and expression_at_start(tokens) == len(tokens)


def expression_at_start(tokens: Sequence[str]) -> int:
    """How many tokens, from the first on, make an expression: as many as can."""
    depth = whole = 0
    name_due, before = True, ""
    for number, token in enumerate(tokens, 1):
        if token == "(":
            fits, depth = name_due and before != "WITH", depth + 1
        elif token == ")":
            fits, depth = not name_due and depth > 0, depth - 1
        else:
            operator = is_operator(token)
            fits, name_due = operator != name_due, operator
            fits = fits and not (token.upper() == "WITH" and before == ")")
        if not fits:
            break
        if depth == 0 and not name_due:
            whole = number
        before = token.upper()
    return whole


def all_of(expressions: Iterable[str]) -> str:
    """Expressions joined by AND, each once; a choice among them in brackets, as AND binds before OR."""
    names = list(dict.fromkeys(expressions))
    return " AND ".join(f"({name})" if len(names) > 1 and " OR " in name and not _in_brackets(name) else name for name in names)


def _in_brackets(expression: str) -> bool:
    """Whether one pair of brackets is around all of it."""
    return expression.startswith("(") and expression.endswith(")") and is_expression(tokens_of(expression[1:-1]))
