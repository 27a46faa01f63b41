"""The house stands as docs/architecture.md draws it: imports go down the floors, megatron-core stays in two rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import megatron_snow

ROOT = Path(megatron_snow.__file__).parent
FLOORS = {
    "common": 0,
    "config": 1, "pipeline": 1, "tokenizers": 1, "tasks": 1, "llm": 1, "sandbox": 1, "kernels": 1,
    "engine": 2, "datasets": 2, "corpus": 2, "report": 2,
    "model": 3, "checkpoint": 3, "annotator": 3,
    "training": 4, "conversion": 4, "evaluation": 4, "synthesis": 4,
    "recipe": 5,
    "cli": 6,
}  # fmt: skip
DATA_ROOMS = ("common", "config", "pipeline", "tokenizers", "tasks", "datasets", "corpus", "report")


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT)


def imported_names(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, wherever in the file, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.module, node.lineno


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def test_every_folder_has_a_floor() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders == set(FLOORS)


def test_imports_go_down_the_floors() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {room(path)} imports {name}"
        for path in modules()
        for name, line in imported_names(path)
        if name.startswith("megatron_snow.") and (other := name.split(".")[1]) != room(path) and FLOORS[other] >= FLOORS[room(path)]
    ]
    assert not wrong, "\n".join(wrong)


def test_megatron_core_stays_in_engine_and_model() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in modules()
        for name, line in imported_names(path)
        if name.split(".")[0] == "megatron" and room(path) not in ("engine", "model")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", DATA_ROOMS)
def test_data_tools_need_no_torch(name: str) -> None:
    files = [path for path in modules() if room(path) == name]
    names = [".".join(("megatron_snow", *path.relative_to(ROOT).with_suffix("").parts)) for path in files]
    code = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_verb_has_a_script_and_every_script_a_verb() -> None:
    from megatron_snow.cli.main import VERBS

    assert {path.stem for path in (ROOT.parent / "tools").glob("*.py")} == set(VERBS)
