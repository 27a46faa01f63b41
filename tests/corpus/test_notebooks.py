"""Notebooks to code with text cells."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest

from megatron_snow.corpus.encodings import text_of
from megatron_snow.corpus.notebooks import notebook_to_code

LANGUAGE = "Jupyter Notebook"


def notebook(*cells: dict[str, Any], language: str = "python", **more: Any) -> str:
    return json.dumps({"cells": list(cells), "metadata": {"kernelspec": {"language": language}}, "nbformat": 4, **more})


def cell(kind: str, source: str | list[str], **more: Any) -> dict[str, Any]:
    return {"cell_type": kind, "metadata": {}, "source": source, **more}


def test_cells_in_the_percent_format() -> None:
    text = notebook(
        cell("markdown", ["# Title\n", "\n", "text"]),
        cell("code", ["import os\n", "x = 1"], outputs=[{"text": "SECRET OUTPUT"}], execution_count=3),
        cell("code", "  "),
        cell("raw", "left"),
    )
    expected = "# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nimport os\nx = 1\n\n# %% [raw]\n# left\n"
    assert notebook_to_code(text) == expected
    ast.parse(expected)


@pytest.mark.parametrize(
    ("language", "sign"), [("R", "#"), ("julia", "#"), ("scala", "//"), ("C++17", "//"), ("haskell", "--"), ("nosuch", "#")]
)
def test_comments_of_the_kernels_language(language: str, sign: str) -> None:
    assert notebook_to_code(notebook(cell("markdown", "a"), language=language)) == f"{sign} %% [markdown]\n{sign} a\n"


def test_language_info_is_asked_first() -> None:
    text = notebook(cell("markdown", "a"), metadata={"language_info": {"name": "scala"}, "kernelspec": {"language": "python"}})
    assert notebook_to_code(text) == "// %% [markdown]\n// a\n"


def test_format_3() -> None:
    cells = [{"cell_type": "heading", "level": 2, "source": "T"}, {"cell_type": "code", "input": "x = 1", "language": "python"}]
    assert notebook_to_code(json.dumps({"worksheets": [{"cells": cells}], "nbformat": 3})) == "# %% [markdown]\n# ## T\n\n# %%\nx = 1\n"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('{"cells": [', "notebook"),
        ('{"nbformat": 4}', "notebook"),
        ('{"cells": [3]}', "notebook"),
        ('{"cells": [{"cell_type": "code", "source": [3]}]}', "notebook"),
        ('{"cells": [{"cell_type": "code", "source": "\\ud800"}]}', "notebook"),
        ('{"cells": {"cell_type": 1}}', "notebook"),
        ("[" * 50_000 + '"cell_type"', "notebook"),
        ('<<<<<<< HEAD\n{"cells": [{"cell_type": "code"}]}', "notebook"),
        ('{"cells": []}', "empty"),
        (" \n", "empty"),
    ],
)
def test_damaged_notebooks_are_dropped(text: str, rule: str) -> None:
    assert text_of("a.ipynb", LANGUAGE, text.encode()) == (None, rule)


def test_text_of_is_pure_and_touches_nothing_but_notebooks() -> None:
    text = notebook(cell("code", "x = 1"))
    assert text_of("a.ipynb", LANGUAGE, text.encode("utf-16")) == ("# %%\nx = 1\n", "")
    assert text_of("a.json", "JSON", text.encode()) == (text, "")
    assert text_of("a.ipynb", LANGUAGE, b"import os\n") == ("import os\n", "")  # StarCoderData's are scripts already
