"""Pass 2: documents of one content, a task a partition of content digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from megatron_snow.common.files import beside
from megatron_snow.corpus.deduplication.signed import DIGEST, PLACE, Numbers
from megatron_snow.corpus.deduplication.units import Unit, bounds, units_of

BYTES = 4 * 64  # a document takes, in memory: its facts and number, sorted and not, and the order


def find_exact(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: (document, the one of its content that stays) for each that does not stay: uint64[2, documents]."""
    facts = _doubtful(units_of(inputs[0]), *bounds(parameters["partition"], parameters["partitions"]))
    facts = facts[:, np.lexsort(facts[::-1])]  # the last key is the first to count
    same = (facts[:2, 1:] == facts[:2, :-1]).all(0)
    starts = np.maximum.accumulate(np.where(np.concatenate(([False], same))[: facts.shape[1]], 0, np.arange(facts.shape[1])))
    dropped = np.flatnonzero(starts != np.arange(facts.shape[1]))
    np.save(beside(prefix, ".npy"), facts[6][np.stack([dropped, starts[dropped]])])
    return {"dropped": len(dropped)}


def _doubtful(units: Sequence[Unit], low: int, high: int) -> Numbers:
    """Digest, rank and number of the documents whose digest begins as another's does: uint64[7, documents]. Most are alone."""
    parts = [np.empty(0, np.uint64)]
    for unit in units:
        parts.append(unit.ranges().digests(low, high))
    begins = np.sort(np.concatenate(parts))
    repeated = np.unique(begins[1:][begins[1:] == begins[:-1]])
    found = [np.empty((7, 0), np.uint64)]
    for unit, begins in zip(units, parts[1:]):
        facts = unit.ranges().facts(low, high)[:, np.isin(begins, repeated)]
        numbers = (facts[PLACE] >> np.uint64(32)) + np.uint64(unit.first)
        found.append(np.concatenate([facts[DIGEST], unit.ranks_in(facts), numbers[None]]))
    return np.concatenate(found, 1)
