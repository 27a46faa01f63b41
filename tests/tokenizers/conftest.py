"""What tests of tokenizers share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tokenizers.vocabularies import CACHE, REASON, read_gguf, write_vocabulary


@pytest.fixture(scope="session")
def real_vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """real_vocabulary(name): the path to load; the test is skipped where it was not fetched."""
    written: dict[str, Path] = {}

    def path_of(name: str) -> Path:
        source = CACHE / "llama-2" / "tokenizer.model" if name == "llama-2" else CACHE / f"ggml-vocab-{name}.gguf"
        if not source.is_file():
            pytest.skip(REASON)
        if name == "llama-2":
            return source
        if name not in written:
            written[name] = write_vocabulary(name, read_gguf(source), tmp_path_factory.mktemp(name))
        return written[name]

    return path_of
