"""Small real repositories: packages of the standard library and headers of NumPy, as a folder of checkouts."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_snow.common.checksums import text_digest
from megatron_snow.pipeline import ShardWriter

STDLIB = Path(sysconfig.get_path("stdlib"))
PACKAGES = ("json", "email", "asyncio", "concurrent", "html", "http", "xmlrpc", "sqlite3", "ctypes", "wsgiref")
PYTHON_ONLY = shutil.ignore_patterns("__pycache__", "test", "*.so")


@pytest.fixture(scope="session")
def checkouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ten Python repositories and one of C headers, about 2 MB."""
    root = tmp_path_factory.mktemp("checkouts")
    for package in PACKAGES:
        shutil.copytree(STDLIB / package, root / package, ignore=PYTHON_ONLY)
    shutil.copytree(Path(np.get_include()), root / "numpy-headers")
    (root / "json" / "LICENSE").write_text("PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2\n")
    return root


@pytest.fixture
def write_shard() -> Callable[..., Path]:
    """Write documents, given by some of their columns, to a shard."""

    def write(path: Path, *documents: dict[str, Any]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        defaults = {"repository": "a/b", "path": "a.py", "language": "Python", "licence": "MIT", "provenance": "test"}
        with ShardWriter(path) as writer:
            for document in documents:
                text = document["content"]
                writer.write(defaults | {"id": text_digest(text), "size": len(text.encode())} | document)
        return path

    return write
