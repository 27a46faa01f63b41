"""Windows of tokens are found wherever they are, and nowhere else; compiled and in NumPy alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from megatron_snow.common.native import load_native
from megatron_snow.datasets import windows
from megatron_snow.datasets.windows import WINDOW, WindowSet, window_hashes


@pytest.fixture(params=["compiled", "numpy"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "numpy":
        monkeypatch.setattr(windows, "load_native", lambda: (None, "not asked for"))
    elif load_native()[0] is None:
        pytest.skip(load_native()[1])
    return request.param


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_hashes_are_those_of_the_formula(kind: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.random.default_rng(1).integers(0, 60_000, 300).astype(dtype)
    mask = 2**64 - 1

    def mix(token: int) -> int:
        x = (token + 1) * 0x9E3779B97F4A7C15 & mask
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & mask
        return x ^ x >> 27

    expected = []
    for first in range(300 - WINDOW + 1):
        total = sum(mix(int(token)) * pow(0x9E3779B97F4A7C15, j, 2**64) for j, token in enumerate(tokens[first : first + WINDOW])) & mask
        expected.append((total ^ total >> 31) * 0x94D049BB133111EB & mask)
    for chunk in (64, 1 << 18):
        monkeypatch.setattr(windows, "_CHUNK", chunk)
        windows._powers.cache_clear()
        assert window_hashes(tokens).tolist() == expected
    windows._powers.cache_clear()
    assert window_hashes(tokens[: WINDOW - 1]).tolist() == []


def test_windows_are_found_where_they_are(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_CHUNK", 1000)
    windows._powers.cache_clear()
    random = np.random.default_rng(2)
    removed, text = random.integers(0, 50, 400).astype(np.uint16), random.integers(0, 50, 10_000).astype(np.uint16)
    text[970:1090] = removed[100:220]  # across two chunks
    text[9_950:] = removed[:50]
    text[5_000:5_049] = removed[:49]  # one short of a window
    known = WindowSet(window_hashes(removed))
    assert np.concatenate(list(known.find(text))).tolist() == [*range(970, 1041), 9_950]
    assert (len(known), known.seen) == (351, 72)
    assert list(WindowSet(np.empty(0, np.uint64)).find(text)) == []
    windows._powers.cache_clear()
