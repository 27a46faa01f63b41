"""A run whose annotator has selected real files: some of the standard library's and Python's headers."""

import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from megatron_snow.annotator.selection import SELECTED
from megatron_snow.common.checksums import text_digest
from megatron_snow.config import Recipe, Synthesis, Workspace, load_recipe
from megatron_snow.pipeline import ShardWriter

RECIPE = Path(__file__).parents[2] / "examples" / "recipes" / "tiny_cpu.yaml"
PYTHON = ("heapq.py", "bisect.py", "textwrap.py", "fractions.py", "statistics.py")
HEADERS = ("object.h", "pymacro.h")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.annotator("selected").mkdir(parents=True)
    for language, root, names in (("Python", "stdlib", PYTHON), ("C", "include", HEADERS)):
        with ShardWriter(workspace.annotator("selected") / f"{language}-00000.parquet", SELECTED) as writer:
            for name in names:
                content = (Path(sysconfig.get_path(root)) / name).read_text(encoding="utf-8")
                writer.write({
                    "id": text_digest(content), "repository": "python:stdlib", "path": name, "language": language, "licence": "PSF-2.0",
                    "size": len(content.encode()), "provenance": name, "content": content,
                    "score": 0.9, "group": f"{language}/python:stdlib",
                })  # fmt: skip
    return workspace


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return replace(load_recipe(RECIPE), synthesis=Synthesis(requests=6, max_tokens=48, seed_bytes=400))
