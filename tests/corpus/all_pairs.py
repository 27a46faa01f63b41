"""All pairs of similar texts by true Jaccard, without LSH: what near-deduplication is measured against."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from megatron_snow.corpus.shingles import Hashes, jaccard, shingles


def similar_pairs(texts: Sequence[str], ngram: int, threshold: float) -> list[tuple[int, int]]:
    """Every pair (a < b) whose Jaccard reaches the threshold, exactly.

    Two sets that do share one of the rarest |x| - ceil(threshold * |x|) + 1 members of each (prefix filter: Chaudhuri et al.
    2006, Bayardo et al. 2007), so pairs are taken from the rare ones alone and then counted.
    """
    sets = [shingles(text, ngram) for text in texts]
    values, counts = np.unique(np.concatenate(sets), return_counts=True)
    prefixes = [_rarest(each, counts[np.searchsorted(values, each)], threshold) for each in sets]
    owners = np.repeat(np.arange(len(sets)), [len(prefix) for prefix in prefixes])
    hashes = np.concatenate(prefixes)
    order = np.argsort(hashes, kind="stable")
    groups = np.split(owners[order], np.flatnonzero(np.diff(hashes[order])) + 1)
    candidates = {pair for group in groups if len(group) > 1 for pair in combinations(group.tolist(), 2)}
    return sorted((a, b) for a, b in candidates if jaccard(sets[a], sets[b]) >= threshold)


def _rarest(hashes: Hashes, counts: np.ndarray, threshold: float) -> Hashes:
    size = len(hashes) - int(np.ceil(threshold * len(hashes))) + 1
    return hashes[np.lexsort((hashes, counts))[: size if len(hashes) else 0]]


def components(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The smallest number of each item's component."""
    parent = list(range(count))

    def find(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for a, b in pairs:
        low, high = sorted((find(a), find(b)))
        parent[high] = low
    return [find(item) for item in range(count)]
