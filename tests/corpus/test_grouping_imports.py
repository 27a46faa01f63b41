"""What files import, found by lines and resolved in their repository, and the order that follows from it."""

from __future__ import annotations

import ast
import random
import sysconfig
from pathlib import Path

import pytest

from megatron_snow.corpus.grouping.import_graph import import_order
from megatron_snow.corpus.grouping.imports import imports_of, javascript_imports, python_imports

STDLIB = Path(sysconfig.get_path("stdlib"))
PACKAGES = ("asyncio", "concurrent", "email", "http", "importlib", "json", "logging", "multiprocessing", "unittest", "xml")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import a.b.c", ["a.b.c"]),
        ("import a, b.c as d  # and e", ["a", "b.c"]),
        ("import a; import b", ["a"]),
        ("from a.b import c, d as e", ["a.b.c", "a.b.d"]),
        ("from . import c", [".c"]),
        ("from .. import c", ["..c"]),
        ("from ..a import c", ["..a.c"]),
        ("from a import *", ["a.*"]),
        ("from a import (  # why\n    b,\n    c as d,  # first\n)\n", ["a.b", "a.c"]),
        ("from a import b, \\\n    c\nx = 1", ["a.b", "a.c"]),
        ("from a import b\r\nfrom c import d\r\n", ["a.b", "c.d"]),
        ("if True:\n    import a\n\ttry: pass\n", ["a"]),
        ("important = 1\nx = 'import y'\n# import z\nimported()\n", []),
        ("import", []),
        ("from a import (b,", ["a.b"]),  # cut off
    ],
)
def test_python_imports(text: str, names: list[str]) -> None:
    assert python_imports(text) == names


def test_python_imports_find_what_the_parser_finds() -> None:
    """All of them on real packages; more only from docstrings."""
    files = [path for package in PACKAGES for path in (STDLIB / package).rglob("*.py") if "test" not in path.parts]
    assert len(files) > 100
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert by_parser(text) <= set(python_imports(text)), file


def by_parser(text: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{'.' * node.level}{node.module + '.' if node.module else ''}{alias.name}" for alias in node.names}
    return names


def test_javascript_imports() -> None:
    text = """
    import React from 'react';
    import { a,
      b } from "./a";
    import './styles';
    export * from '../b/c.js';
    const d = require('./d'), e = await import(`./e`);
    import type { F } from '.';
    const text = "from here to './nowhere else";
    """
    assert javascript_imports(text) == ["./a", "./styles", "../b/c.js", "./d", "./e", "."]
    assert imports_of("TSX", text) == javascript_imports(text)
    assert imports_of("C", text) == []


def ordered(**imports: list[str]) -> list[str]:
    return in_order({f"{name}.py": names for name, names in imports.items()})


def in_order(files: dict[str, list[str]]) -> list[str]:
    """Paths in import order, which is the same for every order of the input."""
    results = set()
    for seed in range(4):
        paths = sorted(files)
        random.Random(seed).shuffle(paths)
        results.add(tuple(paths[number] for number in import_order(paths, [files[path] for path in paths])))
    assert len(results) == 1
    return list(results.pop())


def test_dependencies_come_first() -> None:
    assert ordered(a=["b"], b=["c"], c=[]) == ["c.py", "b.py", "a.py"]
    assert ordered(a=["z"], b=["numpy"], z=[]) == ["z.py", "a.py", "b.py"]  # component by component, at its first path


def test_a_cycle_is_entered_where_least_is_missing() -> None:
    assert ordered(a=["b", "c"], b=["c", "a"], c=["a"]) == ["c.py", "a.py", "b.py"]  # c lacks one file, a and b two
    assert ordered(a=["b"], b=["a"]) == ["a.py", "b.py"]  # equal: by path
    assert ordered(a=["a"], b=["a"]) == ["a.py", "b.py"]  # itself is no dependency


def test_python_modules_are_found_as_python_finds_them() -> None:
    files = {
        "src/pkg/__init__.py": ["pkg.core.run"],
        "src/pkg/core.py": ["..outside", ".tools.helper", "json"],
        "src/pkg/tools/__init__.py": [".helper"],
        "src/pkg/tools/helper.py": [],
        "tests/test_core.py": ["pkg", "pkg.core.run", "conftest"],
        "tests/conftest.py": ["os"],
        "conftest.py": [],
    }
    order = in_order(files)
    place = {path: number for number, path in enumerate(order)}
    assert place["src/pkg/tools/helper.py"] < place["src/pkg/core.py"] < place["src/pkg/__init__.py"] < place["tests/test_core.py"]
    assert place["tests/conftest.py"] < place["tests/test_core.py"]  # the nearest of two
    assert order[0] == "conftest.py"  # nobody imports that of the root


def test_a_relative_import_out_of_the_repository_leads_nowhere() -> None:
    assert in_order({"b.py": [], "a/a.py": ["...b.x", "..b.y", ".missing"]}) == ["b.py", "a/a.py"]
    assert in_order({"b.py": [], "a.py": ["....b"]}) == ["a.py", "b.py"]


def test_script_paths_are_resolved_as_node_and_typescript_do() -> None:
    files = {
        "src/app.tsx": ["./lib", "./util.js", "../config", "./style.css", "./missing"],
        "src/lib/index.ts": ["../util"],
        "src/util.ts": [],
        "config.mjs": ["."],
        "index.js": [],
    }
    assert in_order(files) == ["index.js", "config.mjs", "src/util.ts", "src/lib/index.ts", "src/app.tsx"]


def test_most_edges_of_real_packages_point_back() -> None:
    """multiprocessing and asyncio import in circles; without an order half of the edges would point forwards."""
    files = sorted(path for package in PACKAGES for path in (STDLIB / package).rglob("*.py") if "test" not in path.parts)
    paths = [str(path.relative_to(STDLIB)) for path in files]
    imports = [python_imports(path.read_text(encoding="utf-8")) for path in files]
    order = import_order(paths, imports)
    assert sorted(order) == list(range(len(paths)))
    place = {number: position for position, number in enumerate(order)}
    known = {path.removesuffix(".py").replace("/", "."): number for number, path in enumerate(paths)}
    edges = [(known[name], number) for number, names in enumerate(imports) for name in names if known.get(name, number) != number]
    assert len(edges) > 50
    assert sum(place[target] < place[number] for target, number in edges) > 0.85 * len(edges)
