"""Pass 2: documents of one content, a task a partition of content digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from megatron_snow.common.files import beside
from megatron_snow.corpus.deduplication.units import bounds, cut, units_of

BYTES = 4 * 64  # a document takes, in memory: its facts and number, sorted and not, and the order


def find_exact(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: (document, the one of its content that stays) for each that does not stay: uint64[2, documents]."""
    low, high = bounds(parameters["partition"], parameters["partitions"])
    parts = [np.empty((7, 0), np.uint64)]
    for unit in units_of(inputs[0]):
        facts = unit.read().facts
        facts = facts[:, cut(facts[0], low, high)]
        numbers = (facts[6] >> np.uint64(32)) + np.uint64(unit.first)
        parts.append(np.concatenate([facts[:2], unit.ranks_in(facts), numbers[None]]))
    facts = _doubtful(np.concatenate(parts, 1))
    facts = facts[:, np.lexsort(facts[[6, 5, 4, 3, 2, 1, 0]])]  # the last key is the first to count
    same = (facts[:2, 1:] == facts[:2, :-1]).all(0)
    starts = np.maximum.accumulate(np.where(np.concatenate(([False], same)), 0, np.arange(facts.shape[1])))
    dropped = np.flatnonzero(starts != np.arange(facts.shape[1]))
    np.save(beside(prefix, ".npy"), facts[6][np.stack([dropped, starts[dropped]])])
    return {"dropped": len(dropped)}


def _doubtful(facts: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Those whose digest begins as another's does; most documents are alone."""
    facts = facts[:, np.argsort(facts[0], kind="stable")]
    same = np.zeros(facts.shape[1] + 1, np.bool_)
    same[1:-1] = facts[0, 1:] == facts[0, :-1]
    return facts[:, same[1:] | same[:-1]]
