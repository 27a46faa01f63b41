"""pass@k, after "Evaluating Large Language Models Trained on Code" (arXiv 2107.03374, 2.1)."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Probability that one of `k` of a problem's `samples`, `passed` of which are right, is right: 1 - C(n-c, k) / C(n, k).

    The estimate is unbiased, unlike 1 - (1 - c/n)^k. With one greedy sample and k = 1 it is 0 or 1.
    """
    if not 0 <= passed <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@{k} of {samples} samples, {passed} passed: needs 0 <= passed <= samples and 1 <= k <= samples")
    return 1.0 - prod(1.0 - k / rest for rest in range(samples - passed + 1, samples + 1)) if samples - passed >= k else 1.0


def mean_pass_at_k(counts: Iterable[tuple[int, int]], k: int) -> float:
    """Mean over problems of `pass_at_k`; `counts` holds (samples, passed) of each. 0 problems: 0."""
    values = [pass_at_k(samples, passed, k) for samples, passed in counts]
    return sum(values) / len(values) if values else 0.0
