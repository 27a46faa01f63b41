"""Blends keep their shares in every prefix; language targets hold or are refused."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from megatron_snow.datasets.blends import blend_order


@given(weights=st.lists(st.floats(0.001, 1000), min_size=1, max_size=40))
def test_no_prefix_is_off_by_more_than_a_sample(weights: list[float]) -> None:
    shares = np.array(weights) / sum(weights)
    order = blend_order(shares.tolist(), 1500)
    given_so_far = np.cumsum(order[:, None] == np.arange(len(shares)), axis=0)
    error = np.abs(given_so_far - np.arange(1, 1501)[:, None] * shares).max()
    assert error <= 1 + 1e-9


def test_a_longer_blend_begins_with_the_shorter() -> None:
    shares = [0.5, 0.3, 0.2]
    assert np.array_equal(blend_order(shares, 1000)[:100], blend_order(shares, 100))
