"""Blends keep their shares in every prefix; language targets hold or are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_snow.common.errors import UserError
from megatron_snow.datasets.blends import blend_order, language_shares


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


def test_targets_are_met_and_the_rest_keep_their_proportions() -> None:
    languages = ["Python", "C", "Java", "Python"]
    shares = language_shares([0.1, 0.4, 0.2, 0.3], languages, {"Python": 0.5}, "languages")
    assert shares == pytest.approx([0.125, 0.5 * 4 / 6, 0.5 * 2 / 6, 0.375])


def test_without_targets_shares_are_the_weights() -> None:
    assert language_shares([1, 3], ["C", "C"], {}, "languages") == pytest.approx([0.25, 0.75])


def test_a_target_of_zero_leaves_a_language_out() -> None:
    assert language_shares([1, 1, 2], ["C", "HTML", "Java"], {"HTML": 0.0}, "languages") == pytest.approx([1 / 3, 0, 2 / 3])


def test_a_target_without_data() -> None:
    with pytest.raises(UserError, match=r"languages\.Pyton: 0\.5, but no dataset of the phase has that language; did you mean Python\?"):
        language_shares([1, 1], ["Python", "C"], {"Pyton": 0.5}, "languages")


def test_targets_that_leave_a_rest_to_nobody() -> None:
    with pytest.raises(UserError, match=r"leave 0\.5 to other languages, but the phase has no others"):
        language_shares([1], ["Python"], {"Python": 0.5}, "languages")
