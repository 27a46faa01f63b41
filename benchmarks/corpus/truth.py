"""Near-duplicates by definition: every pair of documents whose sets of 5-grams have a Jaccard similarity of at least 0.7.

Exact, by prefix filtering (Bayardo and others, WWW 2007): of two sets with similarity t each has one of the other's words
among its n - ceil(t n) + 1 rarest, so only documents that share a rare one are compared.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from megatron_snow.corpus.shingles import Hashes, jaccard, shingles

Clusters = Sequence[Hashable]  # the label of each document


def pairs_of(sets: Sequence[Hashes], threshold: float) -> list[tuple[int, int]]:
    """All pairs (a < b) of at least `threshold`; empty sets are like nothing."""
    values, counts = np.unique(np.concatenate(sets), return_counts=True)
    holders: dict[int, list[int]] = defaultdict(list)
    pairs = []
    for number in sorted(range(len(sets)), key=lambda item: len(sets[item])):  # a smaller set never needs a larger one's prefix
        own = sets[number]
        if not len(own):
            continue
        order = np.lexsort((own, counts[np.searchsorted(values, own)]))
        prefix = own[order][: len(own) - math.ceil(threshold * len(own) - 1e-9) + 1].tolist()
        candidates = {other for value in prefix for other in holders.get(value, ())}
        likely = (other for other in candidates if len(sets[other]) >= threshold * len(own) - 1e-9)
        pairs += [tuple(sorted((number, other))) for other in likely if jaccard(own, sets[other]) >= threshold]
        for value in prefix:
            holders[value].append(number)
    return sorted(pairs)


def clusters_of(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Connected components: the smallest member of each document's."""
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


def judge(found: Clusters, true_pairs: Sequence[tuple[int, int]], true_clusters: Clusters) -> dict[str, float]:
    """recall: of the pairs of at least the threshold, those in one cluster; precision: of the pairs that clusters hold, those
    that hang together in truth; kept: clusters."""
    together, right = 0, 0
    for members in _members(found).values():
        together += math.comb(len(members), 2)
        inside: dict[Hashable, int] = defaultdict(int)
        for member in members:
            inside[true_clusters[member]] += 1
        right += sum(math.comb(count, 2) for count in inside.values())
    recalled = sum(found[a] == found[b] for a, b in true_pairs)
    return {
        "recall": round(recalled / max(1, len(true_pairs)), 4),
        "precision": round(right / max(1, together), 4),
        "kept": len(set(found)),
    }


def _members(labels: Clusters) -> dict[Hashable, list[int]]:
    members: dict[Hashable, list[int]] = defaultdict(list)
    for number, label in enumerate(labels):
        members[label].append(number)
    return members


def truth_of(texts: Sequence[str], threshold: float = 0.7, ngram: int = 5) -> tuple[list[tuple[int, int]], list[int]]:
    """(all near-duplicate pairs, the cluster of each document)."""
    pairs = pairs_of([shingles(text, ngram) for text in texts], threshold)
    return pairs, clusters_of(len(texts), pairs)
