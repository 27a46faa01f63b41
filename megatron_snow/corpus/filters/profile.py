"""A profile is rules as data: each drops the documents of which a statistic lies beyond a threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

OTHER_LANGUAGE = "other_language"  # the rule of a profile that drops what is not in its languages


@dataclass(frozen=True)
class Rule:
    """Drops a document if `statistic` is above (">") or below ("<") the threshold."""

    name: str
    statistic: str
    operator: str
    threshold: float
    only: tuple[str, ...] = ()  # languages it looks at; none: all
    exceptions: tuple[str, ...] = ()  # languages it does not look at
    share: float = 1.0  # of what it finds that it drops
    options: Mapping[str, Any] = field(default_factory=dict)  # of the statistic
    source: str = ""

    def finds(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which values lie beyond the threshold; NaN, a share of nothing, does not."""
        return values > self.threshold if self.operator == ">" else values < self.threshold

    @property
    def condition(self) -> str:
        """As it stands in the file: "longest_line > 1000"."""
        return f"{self.statistic} {self.operator} {self.threshold:g}"


@dataclass(frozen=True)
class Profile:
    """Rules in the order in which they are asked; the first that drops a document is the one that counts."""

    name: str
    version: int
    rules: tuple[Rule, ...]
    languages: tuple[str, ...] = ()
    drop_others: bool = False

    def record(self) -> dict[str, Any]:
        """What the outcome depends on, as plain values; `profile_from` reads it back."""
        record = asdict(self)
        for rule in record["rules"]:
            del rule["source"]
        return record


def profile_from(record: Mapping[str, Any]) -> Profile:
    """The profile of a record."""
    fields = dict(record)
    fields["rules"] = tuple(Rule(**{key: _plain(value) for key, value in rule.items()}) for rule in record["rules"])
    return Profile(**{key: _plain(value) for key, value in fields.items()})


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
