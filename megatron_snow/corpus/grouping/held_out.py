"""What is held out of a language for its loss: whole repositories where there are enough, else folders, else documents.

Whole repositories, because files of one repository resemble each other; a language that lives in one
or two repositories falls back to folders (the files' parents), then to single documents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from megatron_snow.common.checksums import text_digest

UNITS = ("repository", "folder", "document")
_MIN_DOCUMENTS = 10  # a language with fewer holds nothing out
_MIN_UNITS = 3  # below this one unit is too large a part


def unit_of(level: str, repository: str, path: str, id: str) -> str:
    """The unit of that level in which a document lies."""
    if level == "repository":
        return repository
    if level == "folder":
        return f"{repository}/{path.rpartition('/')[0]}"
    return f"{repository}/{path}#{id}"


@dataclass
class HeldOut:
    """The units of one language that are held out."""

    level: str = "repository"
    units: list[str] = field(default_factory=list)


def hold_out(documents: Iterable[tuple[str, str, str, int]], share: float, seed: int, language: str) -> HeldOut:
    """Choose about `share` of the bytes of one language's documents (repository, path, id, size), whatever their order."""
    documents = list(documents)
    budget = share * sum(size for *_, size in documents)
    if not budget or len(documents) < _MIN_DOCUMENTS:
        return HeldOut()
    for level in UNITS:
        sizes: Counter[str] = Counter()
        for repository, path, id, size in documents:
            sizes[unit_of(level, repository, path, id)] += size
        chosen = _choose(sizes, budget, f"{seed}:held_out:{language}") if len(sizes) >= _MIN_UNITS else []
        if sum(sizes[unit] for unit in chosen) >= budget / 2:
            return HeldOut(level, sorted(chosen))
    return HeldOut("document", sorted(chosen) or [min(sizes, key=lambda unit: (sizes[unit], unit))])


def _choose(sizes: Counter[str], budget: float, salt: str) -> list[str]:
    """Units in a seeded order until the budget is met, those left out that would go half over it."""
    chosen, total = [], 0
    for unit in sorted(sizes, key=lambda unit: text_digest(f"{salt}:{unit}")):
        if total >= budget:
            break
        if total + sizes[unit] <= 1.5 * budget:
            chosen.append(unit)
            total += sizes[unit]
    return chosen
