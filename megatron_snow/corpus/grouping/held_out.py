"""What is held out of a language, for its loss while training and for a test: whole repositories where there are enough.

Whole repositories, because files of one repository resemble each other. A language that lives in one or two, or nearly all of
it in one, falls back to their top-level folders, then to the files' own folders, then to single documents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from megatron_snow.common.checksums import text_digest

UNITS = ("repository", "folder", "subfolder", "document")
_MIN_DOCUMENTS = 10  # a language with fewer holds nothing out
_MIN_UNITS = 3  # one to train on, to hold out and to test

# Of one language, in the order of units (repositories, folders or documents by name), each once.
UNIT_TABLE = pa.schema([("repository", pa.string()), ("unit", pa.string()), ("documents", pa.int64()), ("bytes", pa.int64())])


def unit_of(level: str, repository: str, path: str, id: str) -> str:
    """The unit of that level in which a document lies."""
    if level == "repository":
        return repository
    if level == "folder":
        return f"{repository}/{path.partition('/')[0] if '/' in path else ''}"
    if level == "subfolder":
        return f"{repository}/{path.rpartition('/')[0]}"
    return f"{repository}/{path}#{id}"


@dataclass(frozen=True)
class HeldOut:
    """The units of one language that are held out: rows of its UNIT_TABLE of that level."""

    level: str
    units: pa.Table

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(self.units["unit"].to_pylist())

    def has(self, repository: str, path: str, id: str) -> bool:
        """Whether a document is held out."""
        return unit_of(self.level, repository, path, id) in self.names


Finer = Callable[[str, "HeldOut | None"], pa.Table]


def hold_out(
    repositories: pa.Table, finer: Finer, share: float, seed: int, language: str, *, split: str = "held_out", taken: HeldOut | None = None
) -> HeldOut:
    """Choose about `share` of the bytes of one language from its UNIT_TABLE of repositories.

    `finer(level, taken)` gives that of folders or documents, of what is not taken; it is asked only where the repositories are
    too few. `taken`: what another split has, of which nothing is chosen, nor are whole units of which it has a part.
    """
    budget = share * int(repositories["bytes"].to_numpy().sum())
    if not budget or int(repositories["documents"].to_numpy().sum()) < _MIN_DOCUMENTS:
        return HeldOut("repository", repositories.slice(0, 0))
    taken = taken if taken is not None and len(taken.units) else None
    for level in UNITS[UNITS.index(taken.level) if taken else 0 :]:
        units = _without(repositories, taken) if level == "repository" else finer(level, taken)
        sizes = units["bytes"].to_numpy()
        enough = len(units) + (len(taken.units) if taken and taken.level == level else 0) >= _MIN_UNITS
        chosen = _choose(units["unit"], sizes, budget, f"{seed}:{split}:{language}") if enough else []
        if sizes[chosen].sum() >= budget / 2:
            return HeldOut(level, units.take(pa.array(sorted(chosen), pa.int64())))
    smallest = [int(np.argmin(sizes))] if len(sizes) > 1 else []  # the first of them by name; the last one is trained on
    return HeldOut("document", units.take(pa.array(sorted(chosen) or smallest, pa.int64())))


def _without(repositories: pa.Table, taken: HeldOut | None) -> pa.Table:
    return repositories.filter(pc.invert(pc.is_in(repositories["unit"], taken.units["unit"].combine_chunks()))) if taken else repositories


def _choose(names: pa.ChunkedArray, sizes: NDArray[np.int64], budget: float, salt: str) -> list[int]:
    """Numbers of units in a seeded order until the budget is met, those left out that would go half over it."""
    digests = np.fromiter((int(text_digest(f"{salt}:{name.as_py()}")[:16], 16) for name in names), np.uint64, len(names))
    chosen: list[int] = []
    total = 0
    for number in np.argsort(digests, kind="stable"):
        if total >= budget:
            break
        if total + sizes[number] <= 1.5 * budget:
            chosen.append(int(number))
            total += int(sizes[number])
    return chosen
