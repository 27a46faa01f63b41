"""What is held out of a language for its loss: whole repositories where there are enough, else folders, else documents.

Whole repositories, because files of one repository resemble each other; a language that lives in one
or two repositories falls back to folders (the files' parents), then to single documents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from megatron_snow.common.checksums import text_digest

UNITS = ("repository", "folder", "document")
_MIN_DOCUMENTS = 10  # a language with fewer holds nothing out
_MIN_UNITS = 3  # below this one unit is too large a part

# Of one language, in the order of units (repositories, folders or documents by name), each once.
UNIT_TABLE = pa.schema([("repository", pa.string()), ("unit", pa.string()), ("documents", pa.int64()), ("bytes", pa.int64())])


def unit_of(level: str, repository: str, path: str, id: str) -> str:
    """The unit of that level in which a document lies."""
    if level == "repository":
        return repository
    if level == "folder":
        return f"{repository}/{path.rpartition('/')[0]}"
    return f"{repository}/{path}#{id}"


@dataclass(frozen=True)
class HeldOut:
    """The units of one language that are held out: rows of its UNIT_TABLE of that level."""

    level: str
    units: pa.Table


def hold_out(repositories: pa.Table, finer: Callable[[str], pa.Table], share: float, seed: int, language: str) -> HeldOut:
    """Choose about `share` of the bytes of one language from its UNIT_TABLE of repositories.

    `finer(level)` gives that of folders or documents; it is asked only where the repositories are too few.
    """
    budget = share * int(repositories["bytes"].to_numpy().sum())
    if not budget or int(repositories["documents"].to_numpy().sum()) < _MIN_DOCUMENTS:
        return HeldOut("repository", repositories.slice(0, 0))
    for level in UNITS:
        units = repositories if level == "repository" else finer(level)
        sizes = units["bytes"].to_numpy()
        chosen = _choose(units["unit"], sizes, budget, f"{seed}:held_out:{language}") if len(units) >= _MIN_UNITS else []
        if sizes[chosen].sum() >= budget / 2:
            return HeldOut(level, units.take(pa.array(sorted(chosen), pa.int64())))
    smallest = int(np.argmin(sizes))  # the first of them by name
    return HeldOut("document", units.take(pa.array(sorted(chosen) or [smallest], pa.int64())))


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
