"""A small grouped corpus of real files: packages of the standard library and Python's C headers."""

import sysconfig
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from megatron_snow.common.checksums import text_digest
from megatron_snow.config import Annotator, Recipe, Workspace, load_recipe
from megatron_snow.pipeline import DOCUMENT, ShardWriter
from megatron_snow.tokenizers import train_sentencepiece

RECIPE = Path(__file__).parents[2] / "examples" / "recipes" / "tiny_cpu.yaml"
STDLIB = Path(sysconfig.get_path("stdlib"))
INCLUDE = Path(sysconfig.get_path("include"))


def documents(folder: Path, pattern: str, repository: str, language: str) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob(pattern)):
        text = path.read_text(encoding="utf-8", errors="replace")
        if text:
            yield {
                "id": text_digest(f"{repository} {path.name}"),
                "repository": repository,
                "path": path.name,
                "language": language,
                "licence": "PSF-2.0",
                "size": len(text.encode()),
                "provenance": path.name,
                "content": text,
                "group": f"{language}/{repository}",
            }


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with corpus/grouped and a tokenizer; treat it as read-only."""
    root = tmp_path_factory.mktemp("run")
    workspace = Workspace(root)
    workspace.corpus("grouped").mkdir(parents=True)
    shards = {
        "Python-00000": [
            *documents(STDLIB / "asyncio", "*.py", "python:asyncio", "Python"),
            *documents(STDLIB / "email", "*.py", "python:email", "Python"),
            *list(documents(STDLIB / "encodings", "*.py", "python:encodings", "Python"))[:60],
        ],
        "C-00000": list(documents(INCLUDE, "*.h", "python:include", "C"))[:30],
    }
    for name, rows in shards.items():
        path = workspace.corpus("grouped") / f"{name}.parquet"
        with ShardWriter(path, DOCUMENT.append(pa.field("group", pa.string()))) as writer:
            for row in rows:
                writer.write(row)
    train_sentencepiece((row["content"] for row in shards["Python-00000"]), 600, workspace.tokenizer_model)
    return root


@pytest.fixture
def workspace(corpus: Path, tmp_path: Path) -> Workspace:
    """A fresh run on that corpus."""
    for name in ("corpus", "tokenizer"):
        (tmp_path / name).symlink_to(corpus / name)
    return Workspace(tmp_path)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    annotator = Annotator(
        positives=("python:asyncio", "python:ema*"), documents_per_class=30, section_tokens=32, score_documents=40, select_tokens=20_000
    )
    return replace(load_recipe(RECIPE), annotator=annotator, workers=1)
