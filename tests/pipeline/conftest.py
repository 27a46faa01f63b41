"""Four small inputs, and the stage functions as a module that workers can import too."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from megatron_snow.pipeline import Stage

HERE = Path(__file__).parent


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """stage_functions: on sys.path here, on PYTHONPATH for the processes that are started."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("PYTHONPATH", f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return importlib.import_module("stage_functions")


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    """in/a.txt to in/d.txt."""
    (tmp_path / "in").mkdir()
    for name in "abcd":
        (tmp_path / "in" / f"{name}.txt").write_text(f"text {name}\n")
    return sorted((tmp_path / "in").iterdir())


@pytest.fixture
def stage() -> Callable[..., Stage]:
    """stage(function, version=1, **parameters): a stage of one text file a task."""

    def make(function: object, version: int = 1, **parameters: object) -> Stage:
        return Stage("upper", version, function, parameters, (".txt",))  # type: ignore[arg-type]

    return make


@pytest.fixture
def content() -> Callable[[Path], dict[str, str]]:
    """The outputs in a folder, by name; a leading point is no output: what a task of a killed node may still be writing."""
    return lambda folder: {path.name: path.read_text() for path in folder.glob("[!.]*.txt")}
