"""Jupyter notebooks to code with text cells, in the percent format that jupytext, VS Code and Spyder read and write.

    # %% [markdown]
    # # A title

    # %%
    x = 1

Outputs, metadata and attachments are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

# How a comment begins in the kernel's language; Python, R, Julia, Ruby, shells and most others: #.
_COMMENTS = {
    **dict.fromkeys(("c", "c++", "c++11", "c++14", "c++17", "c#", "csharp", "f#", "fsharp", "go", "groovy", "java", "javascript", "kotlin",
                     "php", "rust", "scala", "swift", "typescript"), "//"),
    **dict.fromkeys(("haskell", "lua", "sql", "postgresql", "mysql"), "--"),
    **dict.fromkeys(("matlab", "octave", "prolog", "erlang"), "%"),
    **dict.fromkeys(("clojure", "common-lisp", "scheme", "hy"), ";"),
}  # fmt: skip
_MARKS = {"markdown": "%% [markdown]", "heading": "%% [markdown]", "raw": "%% [raw]", "html": "%% [markdown]", "code": "%%"}


def notebook_to_code(text: str) -> str | None:
    """The cells of a notebook (nbformat 3 or 4), code as it is and other text as comments; None where it is damaged.

    "" is a notebook without text in any cell.
    """
    try:
        notebook = json.loads(text)
        sign = _comment_sign(notebook)
        return "\n".join(_cell(kind, source, sign) for kind, source in _cells(notebook) if source.strip())
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None


def _cell(kind: str, source: str, sign: str) -> str:
    lines = source.rstrip().splitlines()
    if kind != "code":
        lines = [f"{sign} {line}".rstrip() for line in lines]
    return "\n".join([f"{sign} {_MARKS[kind]}", *lines, ""])


def _cells(notebook: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind, source) of each cell; before format 4 they lay in worksheets, code as `input`, titles with a level."""
    worksheets = notebook.get("worksheets", [notebook])
    for cell in [cell for sheet in worksheets for cell in sheet["cells"]]:
        kind = cell["cell_type"] if cell["cell_type"] in _MARKS else "raw"
        source = cell["source"] if "source" in cell else cell["input"]
        source = source if isinstance(source, str) else "".join(source)
        yield kind, f"{'#' * int(cell.get('level', 1))} {source}" if kind == "heading" else source


def _comment_sign(notebook: Mapping[str, Any]) -> str:
    metadata = notebook.get("metadata") or {}
    named = (metadata.get("language_info") or {}).get("name") or (metadata.get("kernelspec") or {}).get("language") or ""
    return _COMMENTS.get(str(named).lower(), "#")
