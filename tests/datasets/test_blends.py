"""Blends keep their shares in every prefix, however long, and are the same in C++ and Python, from any block on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_snow.datasets import blends
from megatron_snow.datasets.blends import BlendOrder, blend_order


@given(weights=st.lists(st.floats(0.001, 1000), min_size=1, max_size=40))
def test_no_prefix_is_off_by_more_than_a_sample(weights: list[float]) -> None:
    shares = np.array(weights) / sum(weights)
    order = blend_order(shares.tolist(), 1500)
    given_so_far = np.cumsum(order[:, None] == np.arange(len(shares)), axis=0)
    error = np.abs(given_so_far - np.arange(1, 1501)[:, None] * shares).max()
    assert error <= 1 + 1e-9


def test_no_long_prefix_either() -> None:
    """Two million samples of shares that differ by four orders of magnitude."""
    shares = np.geomspace(1, 1e-4, 12) / np.geomspace(1, 1e-4, 12).sum()
    order = blend_order(shares.tolist(), 2_000_000)
    for source, share in enumerate(shares):
        ahead = np.cumsum(order == source) - np.arange(1, len(order) + 1) * share
        assert np.abs(ahead).max() <= 1 + 1e-6


def test_a_longer_blend_begins_with_the_shorter() -> None:
    shares = [0.5, 0.3, 0.2]
    assert np.array_equal(blend_order(shares, 1000)[:100], blend_order(shares, 100))


@given(weights=st.lists(st.floats(1e-6, 1), min_size=1, max_size=12))
def test_python_gives_the_same(weights: list[float]) -> None:
    shares = (np.array(weights) / sum(weights)).tolist()
    compiled = blend_order(shares, 800)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blends, "load_native", lambda: (None, "not built"))
        assert np.array_equal(blend_order(shares, 800), compiled)


def test_blocks_are_parts_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked in any order, a sample has its source and its number, as counted from the start."""
    monkeypatch.setattr(blends, "_BLOCK", 64)
    shares, count = [0.41, 0.3, 0.2, 0.09], 5_000
    whole = blend_order(shares, count)
    numbers = np.empty(count, np.int64)
    for source in range(len(shares)):
        numbers[whole == source] = np.arange((whole == source).sum())
    asked = np.random.default_rng(1).permutation(count)
    order = BlendOrder(shares, count)
    for rows in np.split(asked, 50):
        sources, given_before = order.at(rows)
        assert np.array_equal(sources, whole[rows])
        assert np.array_equal(given_before, numbers[rows])
    assert np.array_equal(BlendOrder(shares, count).at([count - 1])[0], whole[-1:])  # straight to the end, as after a resume
