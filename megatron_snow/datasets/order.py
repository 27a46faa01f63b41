"""The order of training: pure functions of a seed and a number, so that resuming cannot change it.

One epoch of a dataset: its groups (documents of the .idx) in a random order, end to end; samples of
seq_length + 1 tokens cut from that, each overlapping the next by one token, so that every token but
the first is a target once; these samples in a random order of their own. A tail shorter than a sample
is dropped. An epoch ends before the next begins, unlike Megatron's GPTDataset, which shuffles all
epochs together: four repeats are four passes (paper 2.3, 12.5 B tokens x 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from megatron_snow.common.checksums import value_digest


def derive_key(*parts: str | int) -> int:
    """64 bits from names and numbers, the same on every machine."""
    return int(value_digest(parts)[:16], 16)


def permutation(count: int, key: int) -> np.ndarray:
    """A random order of range(count), int64.

    Sorting by a hash (splitmix64) instead of NumPy's Generator, whose stream may change between
    versions (NEP 19): a run resumed after an update must see the same order.
    """
    x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(x ^ (x >> np.uint64(31)), kind="stable")


def samples_per_epoch(num_tokens: int, seq_length: int) -> int:
    """Whole samples of seq_length + 1 tokens, overlapping by one."""
    return max(0, (num_tokens - 1) // seq_length)


def rank_rows(step: int, global_batch_size: int, rank: int, ranks: int) -> range:
    """The samples of a phase that data-parallel rank `rank` of `ranks` reads at the phase's step (from 0).

    The step's batch is [step * B, (step + 1) * B); a rank takes one contiguous block of it, so the
    batch is the same whatever the number of ranks.
    """
    first = step * global_batch_size
    return range(first + global_batch_size * rank // ranks, first + global_batch_size * (rank + 1) // ranks)


@dataclass(frozen=True)
class Span:
    """Consecutive tokens of a .bin."""

    first_token: int
    count: int


class EpochOrder:
    """One epoch over groups that lie end to end: which tokens make up its k-th sample."""

    def __init__(self, group_ends: np.ndarray, seq_length: int, key: int) -> None:
        """`group_ends` int64[n]: where each group ends in the .bin, in tokens."""
        lengths = np.diff(group_ends, prepend=0)
        order = permutation(len(lengths), derive_key("groups", key))
        self._starts, self._lengths = (group_ends - lengths)[order], lengths[order]
        self._ends = np.cumsum(self._lengths, dtype=np.int64)
        self._seq_length = seq_length
        total = int(self._ends[-1]) if len(self._ends) else 0
        self._samples = permutation(samples_per_epoch(total, seq_length), derive_key("samples", key))

    def __len__(self) -> int:
        return len(self._samples)

    def spans(self, k: int) -> list[Span]:
        """The pieces of the k-th sample, seq_length + 1 tokens together."""
        offset, missing = int(self._samples[k]) * self._seq_length, self._seq_length + 1
        group = int(np.searchsorted(self._ends, offset, side="right"))
        spans = []
        while missing:
            inside = offset - (int(self._ends[group]) - int(self._lengths[group]))
            count = min(missing, int(self._lengths[group]) - inside)
            if count:
                spans.append(Span(int(self._starts[group]) + inside, count))
            missing, offset, group = missing - count, offset + count, group + 1
        return spans
