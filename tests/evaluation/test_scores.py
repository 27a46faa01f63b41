"""pass@k against counting all choices."""

from __future__ import annotations

from itertools import combinations

import pytest

from megatron_snow.evaluation import mean_pass_at_k, pass_at_k


@pytest.mark.parametrize("samples", [1, 2, 5, 8])
def test_equals_the_share_of_choices_that_hold_a_right_one(samples: int) -> None:
    for passed in range(samples + 1):
        for k in range(1, samples + 1):
            choices = list(combinations([True] * passed + [False] * (samples - passed), k))
            assert pass_at_k(samples, passed, k) == pytest.approx(sum(map(any, choices)) / len(choices), abs=1e-12)


def test_means() -> None:
    assert mean_pass_at_k([(1, 1), (1, 0), (1, 0), (1, 0)], 1) == 0.25
    assert mean_pass_at_k([(200, 1)], 100) == pytest.approx(0.5)
    assert mean_pass_at_k([], 1) == 0.0


@pytest.mark.parametrize(("samples", "passed", "k"), [(1, 2, 1), (3, 1, 4), (3, -1, 1), (3, 1, 0)])
def test_impossible_counts(samples: int, passed: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(samples, passed, k)
