"""Blends: the share of each source, and which source gives the i-th sample."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence

import numpy as np

from megatron_snow.common.errors import UserError, nearest


def language_shares(weights: Sequence[float], languages: Sequence[str], targets: Mapping[str, float], key: str) -> list[float]:
    """Shares (they sum to 1) of sources with these weights once the targets hold.

    A language with a target gets it, split over its sources by weight; the others keep their
    proportions and fill the rest. UserError that names the recipe's `key` where a target has
    no source or nothing can fill the rest.
    """
    for language in targets:
        if targets[language] and language not in languages:
            raise UserError(
                f"{key}.{language}: {targets[language]}, but no dataset of the phase has that language{nearest(language, languages)}; "
                f"there are {', '.join(sorted(set(languages)))}"
            )
    by_language: dict[str | None, float] = {}  # None: all languages without a target
    owners = [language if language in targets else None for language in languages]
    for owner, weight in zip(owners, weights):
        by_language[owner] = by_language.get(owner, 0.0) + weight
    rest = 1.0 - sum(targets.values())
    if rest > 1e-9 and None not in by_language:
        raise UserError(f"{key}: {dict(targets)} leave {rest:.3g} to other languages, but the phase has no others; let them sum to 1")
    shares = [weight / by_language[owner] * (rest if owner is None else targets[owner]) for owner, weight in zip(owners, weights)]
    return [max(0.0, share) for share in shares]


def blend_order(shares: Sequence[float], count: int) -> np.ndarray:
    """Which source gives each of the first `count` samples, uint16[count]; a pure function of the shares.

    In every prefix each source is off its share by at most one sample. The largest deficit first, as
    Megatron does it, can fall further behind with many sources; here each sample of a source has a
    window in which it keeps the error below one, and the window that closes first wins (Pfair
    scheduling on one processor, Baruah et al. 1996: always feasible).
    """
    if len(shares) == 1:
        return np.zeros(count, np.uint16)
    order = np.empty(count, np.uint16)
    given = [0] * len(shares)
    opening: dict[int, list[int]] = {0: [k for k, share in enumerate(shares) if share > 0]}  # slot -> sources whose window opens
    ready: list[tuple[int, int]] = []  # (slot by which it must be given, source)
    for slot in range(count):
        for source in opening.pop(slot, ()):
            heapq.heappush(ready, (math.ceil((given[source] + 1) / shares[source]), source))
        source = heapq.heappop(ready)[1]
        order[slot] = source
        given[source] += 1
        opens = max(slot + 1, math.floor(given[source] / shares[source]))
        opening.setdefault(opens, []).append(source)
    return order
