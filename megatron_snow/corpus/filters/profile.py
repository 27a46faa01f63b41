"""A profile: rules as data. Each drops the documents of which a statistic lies on the wrong side of a threshold.

    name: mine
    version: 1                     # raised when the same text should be judged differently
    languages: [Python]            # rules look at these alone (default: all)
    others: keep                   # or drop: documents in other languages
    rules:
      - name: long_line
        drop: longest_line > 1000  # STATISTIC > or < NUMBER
        except: [Markdown]         # or only: [...]
        source: StarCoder 3.2

`share: 0.8` drops that part of what a rule finds, chosen by the document's id. Some statistics take
keys of their own (`statistics.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError, nearest
from megatron_snow.corpus.filters.statistics import OPTIONS, STATISTICS

_FOLDER = Path(__file__).parent / "profiles"
_CONDITION = re.compile(r"(\w+) *([<>]) *(\S+)")
_KEYS = ("name", "version", "about", "source", "languages", "others", "rules")
_RULE_KEYS = ("name", "drop", "only", "except", "share", "source")


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
    rules = tuple(Rule(**{key: tuple(value) if key in ("only", "exceptions") else value for key, value in rule.items()}) for rule in record["rules"])
    return Profile(record["name"], record["version"], rules, tuple(record["languages"]), record["drop_others"])


def profile_names() -> list[str]:
    """The profiles that come with the project."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_profile(name: str, thresholds: Mapping[str, float] | None = None) -> Profile:
    """A profile by name or file, with thresholds of its rules replaced; inf or -inf switches a rule off.

    UserError for a file, key, rule, statistic or number that is not one.
    """
    path = _FOLDER / f"{name}.yaml"
    if name not in profile_names():
        path = Path(name)
        if not path.is_file():
            hint = nearest(name, profile_names())
            raise UserError(f"corpus.filters.profile: {name}: no such profile or file{hint}; there are {', '.join(profile_names())}")
    profile = _parse(_read(path), path)
    return _with_thresholds(profile, thresholds or {})


def _with_thresholds(profile: Profile, thresholds: Mapping[str, float]) -> Profile:
    names = [rule.name for rule in profile.rules]
    for name, threshold in thresholds.items():
        if name not in names:
            hint = nearest(name, names)
            raise UserError(f"corpus.filters.thresholds: {name}: no such rule in profile {profile.name}{hint}; it has {', '.join(names)}")
        if threshold != threshold:
            raise UserError(f"corpus.filters.thresholds: {name}: {threshold} is not a number; inf switches a rule off")
    rules = tuple(Rule(**{**vars(rule), "threshold": float(thresholds.get(rule.name, rule.threshold))}) for rule in profile.rules)
    return Profile(profile.name, profile.version, rules, profile.languages, profile.drop_others)


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a profile is a mapping of keys ({', '.join(_KEYS)}), this is {type(tree).__name__}")
    return tree


def _parse(tree: Mapping[str, Any], path: Path) -> Profile:
    _check_keys(tree, _KEYS, f"{path}")
    others = tree.get("others", "keep")
    if others not in ("keep", "drop"):
        raise UserError(f"{path}: others: {others!r} is neither keep nor drop")
    version = tree.get("version", 1)
    if not isinstance(version, int):
        raise UserError(f"{path}: version: {version!r} is not a whole number")
    entries = tree.get("rules")
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: rules: give a list of at least one rule, each with name and drop")
    rules = tuple(_rule(entry, f"{path}: rules[{number}]") for number, entry in enumerate(entries))
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path}: two rules are called {name}; rename one")
    return Profile(str(tree.get("name", path.stem)), version, rules, _names(tree, "languages", f"{path}"), others == "drop")


def _rule(entry: Any, where: str) -> Rule:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not isinstance(entry.get("drop"), str):
        raise UserError(f"{where}: {entry!r}: a rule needs name and drop, for example drop: longest_line > 1000")
    where = f"{where} {entry['name']}"
    statistic, operator, threshold = _condition(entry["drop"], where)
    options = OPTIONS.get(statistic, ())
    _check_keys(entry, (*_RULE_KEYS, *options), where)
    share = entry.get("share", 1.0)
    if not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise UserError(f"{where}: share: {share!r} is not in (0, 1]")
    return Rule(
        entry["name"], statistic, operator, threshold, _names(entry, "only", where), _names(entry, "except", where),
        float(share), {key: _option(key, entry[key], where) for key in options if key in entry}, str(entry.get("source", "")),
    )  # fmt: skip


def _condition(text: str, where: str) -> tuple[str, str, float]:
    match = _CONDITION.fullmatch(text.strip())
    try:
        statistic, operator, threshold = match[1], match[2], float(match[3]) if match else 0.0  # type: ignore[index]
    except (TypeError, ValueError):
        raise UserError(f"{where}: drop: {text!r} is not STATISTIC > NUMBER or STATISTIC < NUMBER") from None
    if statistic not in STATISTICS:
        hint = nearest(statistic, STATISTICS)
        raise UserError(f"{where}: drop: no statistic {statistic!r}{hint}; there are {', '.join(STATISTICS)}")
    return statistic, operator, threshold


def _option(key: str, value: Any, where: str) -> Any:
    if key in ("lines", "characters"):
        if not isinstance(value, int) or value < 1:
            raise UserError(f"{where}: {key}: {value!r} is not a whole number above 0")
        return value
    return list(_names({key: value}, key, where))


def _names(tree: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    values = tree.get(key) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UserError(f"{where}: {key}: {values!r} is not a list of texts")
    return tuple(values)


def _check_keys(tree: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in tree:
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}{nearest(str(key), known)}; there are {', '.join(known)}")
