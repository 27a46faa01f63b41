"""The order of samples: complete, without repeats, the same for any number of ranks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_snow.datasets import rank_rows
from megatron_snow.datasets.order import Permutation, derive_key, samples_per_epoch
from tests.datasets.made import switch_off_native

BIG = st.integers(500, 2**62 - 1)
KEY = st.integers(0, 2**64 - 1)


def in_python(order: Permutation, numbers: np.ndarray, back: bool = False) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        switch_off_native(patch)
        return order.inverse(numbers) if back else order(numbers)


@pytest.mark.parametrize("count", [*range(70), 100, 255, 256, 257, 300, 1023, 1024, 1025, 4096, 5000])
def test_permutation_is_a_bijection(count: int) -> None:
    order, numbers = Permutation(count, derive_key(count)), np.arange(count)
    values = order(numbers)
    assert np.array_equal(np.sort(values), numbers)
    assert np.array_equal(order.inverse(values), numbers)
    assert np.array_equal(in_python(order, numbers), values)
    assert np.array_equal(in_python(order, values, back=True), numbers)
    assert [order(i) for i in range(min(count, 100))] == values[:100].tolist()
    assert [order.inverse(i) for i in range(min(count, 100))] == order.inverse(numbers[:100]).tolist()


@given(count=BIG, key=KEY, data=st.data())
def test_permutation_of_any_size_goes_back(count: int, key: int, data: st.DataObject) -> None:
    order = Permutation(count, key)
    numbers = np.array(data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=300)), np.int64)
    values = order(numbers)
    assert ((values >= 0) & (values < count)).all()
    assert len(np.unique(values)) == len(np.unique(numbers))
    assert np.array_equal(order.inverse(values), numbers)
    assert np.array_equal(in_python(order, numbers), values)
    assert np.array_equal(in_python(order, values, back=True), numbers)
    assert order(int(numbers[0])) == values[0]


def test_order_is_pinned() -> None:
    """A change of these would change every run that is resumed after it."""
    assert derive_key("groups", 7) == 0x64826F1EC6366FDA
    assert Permutation(10, 1234)(np.arange(10)).tolist() == [9, 6, 3, 8, 1, 7, 4, 0, 5, 2]
    assert [Permutation(2**40 + 5, 2**64 - 1)(i) for i in (0, 1, 2**40)] == [1017911870291, 625229397818, 711903966229]


@pytest.mark.parametrize("numbers", [[-1], [10], [3, 10], [2**40]])
def test_numbers_outside_are_refused(numbers: list[int]) -> None:
    order = Permutation(10, 1)
    for function in (order, order.inverse):
        with pytest.raises(IndexError, match=r"range\(10\)"):
            function(np.array(numbers))
        with pytest.raises(IndexError, match=r"range\(10\)"):
            function(numbers[-1])


def orders(count: int, keys: int) -> np.ndarray:
    """int64[keys, count]"""
    return np.stack([Permutation(count, derive_key("test", key))(np.arange(count)) for key in range(keys)])


def excess(found: np.ndarray, expected: float | np.ndarray, degrees: int) -> float:
    """Chi-square in standard deviations from its mean: about normal, below 4 but once in 30,000 tests."""
    return float((((found - expected) ** 2 / expected).sum() - degrees) / (2 * degrees) ** 0.5)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 8, 12, 16, 17, 31, 32, 33, 64])
def test_each_place_gets_each_value_equally_often(count: int) -> None:
    values = orders(count, 4000)
    cells = np.stack([np.bincount(values[:, place], minlength=count) for place in range(count)])
    assert excess(cells, 4000 / count, (count - 1) ** 2) < 4


@pytest.mark.parametrize("count", [3, 4, 5])
def test_each_order_comes_equally_often(count: int) -> None:
    _, found = np.unique(orders(count, 6000), axis=0, return_counts=True)
    all_orders = math.factorial(count)
    assert len(found) == all_orders
    assert excess(found, 6000 / all_orders, all_orders - 1) < 4


@pytest.mark.parametrize("count", [8, 33, 64, 100, 257, 1000])
@pytest.mark.parametrize("distance", [1, 2, 16])
def test_neighbours_are_not_related(count: int, distance: int) -> None:
    """With 4 rounds in place of 8 this is off by tens of deviations."""
    if distance >= count:
        return
    values = orders(count, 400_000 // count // 10)
    steps = (values[:, distance:] - values[:, :-distance]) % count
    assert excess(np.bincount(steps.ravel(), minlength=count)[1:], steps.size / (count - 1), count - 2) < 4


def test_large_orders_are_random() -> None:
    """Places and values of 10 million in 32 x 32 cells; and the values of two keys at the same places."""
    count = 10_000_000
    places = np.arange(count)
    one, other = (Permutation(count, derive_key(key))(places) for key in "ab")
    for row, column in ((places, one), (one, other), (places[:-1] * 0 + one[:-1], one[1:])):
        cells = np.bincount(row * 32 // count * 32 + column * 32 // count, minlength=1024)
        assert abs(excess(cells, len(row) / 1024, 961)) < 4
    assert np.count_nonzero(one == other) < 10  # one is expected
    assert np.count_nonzero(one == places) < 10


def test_few_rounds_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above can fail: with 2 rounds neighbours are related."""
    switch_off_native(monkeypatch)
    values = []
    for key in range(100):
        order = Permutation(257, derive_key("test", key))
        order._keys = order._keys[:2]
        values.append(order(np.arange(257)))
    steps = np.diff(values, axis=1) % 257
    assert excess(np.bincount(steps.ravel(), minlength=257)[1:], steps.size / 256, 255) > 4


@given(ranks=st.sampled_from([1, 2, 3, 4, 8, 16]), rows=st.integers(1, 8), step=st.integers(0, 1000))
def test_ranks_share_a_batch_in_blocks(ranks: int, rows: int, step: int) -> None:
    batch = ranks * rows
    parts = [rank_rows(step, batch, rank, ranks) for rank in range(ranks)]
    assert [i for part in parts for i in part] == list(range(step * batch, (step + 1) * batch))
    assert {len(part) for part in parts} == {rows}


@pytest.mark.parametrize(("tokens", "expected"), [(0, 0), (1, 0), (8, 0), (9, 1), (16, 1), (17, 2)])
def test_samples_of_an_epoch(tokens: int, expected: int) -> None:
    assert samples_per_epoch(tokens, 8) == expected
