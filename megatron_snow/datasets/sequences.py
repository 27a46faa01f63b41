"""Which files make up a sequence: a pure function of the files' lengths and groups, read from the left.

A group is one sequence. Where it is longer than a limit it is cut at the border of a file, as late as it fits; a file that is
longer by itself is a sequence of its own. Between files of a sequence stands the separator (a token or nothing), at its end
the end-of-document. Both belong to what is before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOTHING = -1  # in place of a token: none stands there


@dataclass(frozen=True)
class Separation:
    """What stands between files, as token ids, and how long a sequence may be."""

    eod: int  # at the end of a sequence
    separator: int  # between files of a sequence; NOTHING: they adjoin
    max_tokens: int  # of a sequence, its end included

    def joints(self, begins: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The token before each file, by whether it begins a sequence."""
        return np.where(begins, self.eod, self.separator)

    def as_dict(self) -> dict[str, int]:
        """For a file's metadata; `Separation(**)` reads it."""
        return asdict(self)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Separation:
        """The inverse of `as_dict`; KeyError where one is missing."""
        return cls(values["eod"], values["separator"], values["max_tokens"])


class SequenceCutter:
    """Says which files begin a sequence, a stretch of files at a time; where the stretches end changes nothing."""

    def __init__(self, separation: Separation) -> None:
        self._between = int(separation.separator != NOTHING)
        # Costs are lengths with a separator each; the last one's place is the end-of-document's.
        self._limit = separation.max_tokens - 1 + self._between
        self._open = 0  # cost of the sequence that the last stretch left open

    def begins(self, lengths: NDArray[np.int64], group_begins: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether each of the next files, of `lengths` tokens without separators, begins a sequence."""
        begins = group_begins.copy()
        if not len(lengths):
            return begins
        ends = np.cumsum(lengths + self._between)
        starts = ends - lengths - self._between
        groups = np.flatnonzero(group_begins | (np.arange(len(lengths)) == 0))
        lasts = np.append(groups[1:], len(lengths))
        costs = ends[lasts - 1] - starts[groups]
        costs[0] += 0 if group_begins[0] else self._open
        for first, last in zip(groups[costs > self._limit].tolist(), lasts[costs > self._limit].tolist()):
            self._cut(begins, starts, ends, first, last)
        newest = np.flatnonzero(begins)
        self._open = int(ends[-1] - starts[newest[-1]]) if len(newest) else self._open + int(ends[-1])
        return begins

    def _cut(self, begins: NDArray[np.bool_], starts: NDArray[np.int64], ends: NDArray[np.int64], first: int, last: int) -> None:
        """Mark the cuts of files first:last, which are of one group and too long for one sequence."""
        fresh = bool(begins[first])  # else files of earlier stretches stand before it
        base = int(starts[first]) - (0 if fresh else self._open)
        while True:
            cut = int(np.searchsorted(ends[:last], base + self._limit, side="right"))
            cut = max(cut, first + 1 if fresh else first)
            if cut >= last:
                return
            begins[cut] = True
            first, base, fresh = cut, int(starts[cut]), True
