"""The order of samples: complete, without repeats, the same for any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_snow.datasets import rank_rows
from megatron_snow.datasets.order import EpochOrder, derive_key, permutation, samples_per_epoch


@given(count=st.integers(0, 500), key=st.integers(0, 2**64 - 1))
def test_permutation(count: int, key: int) -> None:
    assert sorted(permutation(count, key).tolist()) == list(range(count))


def test_permutation_is_pinned() -> None:
    """A change of this order would change every run that is resumed after it."""
    assert permutation(10, 1234).tolist() == [2, 7, 3, 8, 6, 1, 5, 4, 0, 9]
    assert derive_key("groups", 7) == 0x64826F1EC6366FDA
    assert permutation(1000, 1).tolist() != permutation(1000, 2).tolist()


def test_permutation_is_random() -> None:
    """Each place gets each value equally often: 4,000 keys over 8 x 8 cells, chi-square below the 0.999 quantile of 49 degrees."""
    cells = np.zeros((8, 8))
    for key in range(4000):
        cells[np.arange(8), permutation(8, derive_key(key))] += 1
    assert ((cells - 500) ** 2 / 500).sum() < 85.4


@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=30), seq_length=st.integers(1, 16), key=st.integers(0, 99))
def test_an_epoch_gives_every_token_once(lengths: list[int], seq_length: int, key: int) -> None:
    """Each token is a target once, but the first and a tail under one sample; groups stay whole and adjacent."""
    ends = np.cumsum(lengths)
    order = EpochOrder(ends, seq_length, key)
    assert len(order) == samples_per_epoch(int(ends[-1]), seq_length)
    samples = [np.concatenate([np.arange(s.first_token, s.first_token + s.count) for s in order.spans(k)]) for k in range(len(order))]
    assert all(len(sample) == seq_length + 1 for sample in samples)
    targets = np.concatenate([sample[1:] for sample in samples]) if samples else np.zeros(0)
    assert len(np.unique(targets)) == len(targets) == len(order) * seq_length
    assert ends[-1] - len(targets) <= seq_length


def test_neighbours_overlap_by_one_token() -> None:
    order = EpochOrder(np.array([50, 90, 200]), 8, key=3)
    first_and_last = {}
    for k in range(len(order)):
        spans = order.spans(k)
        first_and_last[spans[0].first_token] = spans[-1].first_token + spans[-1].count - 1
    followed = sum(last in first_and_last for last in first_and_last.values())
    assert followed == len(order) - 1  # all but the last of the epoch are followed by one that starts with their last token


def test_epochs_differ() -> None:
    ends = np.arange(10, 1000, 10)
    orders = [[EpochOrder(ends, 8, key).spans(k)[0].first_token for k in range(20)] for key in (1, 2)]
    assert orders[0] != orders[1]


@given(ranks=st.sampled_from([1, 2, 3, 4, 8, 16]), rows=st.integers(1, 8), step=st.integers(0, 1000))
def test_ranks_share_a_batch_in_blocks(ranks: int, rows: int, step: int) -> None:
    batch = ranks * rows
    parts = [rank_rows(step, batch, rank, ranks) for rank in range(ranks)]
    assert [i for part in parts for i in part] == list(range(step * batch, (step + 1) * batch))
    assert {len(part) for part in parts} == {rows}


@pytest.mark.parametrize(("tokens", "expected"), [(0, 0), (1, 0), (8, 0), (9, 1), (16, 1), (17, 2)])
def test_samples_of_an_epoch(tokens: int, expected: int) -> None:
    assert samples_per_epoch(tokens, 8) == expected
