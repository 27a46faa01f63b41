"""Digests of many texts are those of hashlib."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import megatron_snow.common.digests as module
from megatron_snow.common.checksums import bytes_digest


def digests(texts: list[bytes]) -> list[str]:
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    return [row.tobytes().hex() for row in module.digests_of(np.frombuffer(b"".join(texts) + b" ", np.uint8), offsets)]


@given(st.lists(st.binary(max_size=400), max_size=30))
def test_digests_are_those_of_hashlib(texts: list[bytes]) -> None:
    assert digests(texts) == [bytes_digest(text) for text in texts]


@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 255, 256, 257, 100_000])
def test_sizes_about_a_block(size: int) -> None:
    texts = [bytes([number]) * size for number in range(9)]
    assert digests(texts) == [bytes_digest(text) for text in texts]


def test_real_files_and_the_form_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [path.read_bytes() for path in sorted(Path(np.__file__).parent.glob("*.py"))]
    expected = [bytes_digest(text) for text in texts]
    assert digests(texts) == expected
    monkeypatch.setattr(module, "load_native", lambda: (None, "switched off"))
    assert digests(texts) == expected
