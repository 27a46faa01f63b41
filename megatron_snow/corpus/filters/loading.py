"""Profiles from YAML: those that come with the project, and a user's own.

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

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from megatron_snow.common.errors import UserError, nearest
from megatron_snow.corpus.filters.profile import OTHER_LANGUAGE, Profile, Rule
from megatron_snow.corpus.filters.statistics import OPTIONS, STATISTICS

_FOLDER = Path(__file__).parent / "profiles"
_CONDITION = re.compile(r"(\w+) *([<>]) *(\S+)")
_NAME = re.compile(r"[\w-]+")  # of a rule: part of the counts' keys and of a file's name
_KEYS = ("name", "version", "about", "source", "languages", "others", "rules")
_RULE_KEYS = ("name", "drop", "only", "except", "share", "source")


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
        if math.isnan(threshold):
            raise UserError(f"corpus.filters.thresholds: {name}: {threshold} is not a number; inf switches a rule off")
    return replace(profile, rules=tuple(replace(rule, threshold=thresholds.get(rule.name, rule.threshold)) for rule in profile.rules))


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
    if not _NAME.fullmatch(entry["name"]) or entry["name"] == OTHER_LANGUAGE:
        raise UserError(
            f"{where}: name: give letters, digits, _ and -, and not {OTHER_LANGUAGE}, which counts the documents that `others` drops"
        )
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
    threshold = _number(match[3]) if match else None
    if match is None or threshold is None:
        raise UserError(f"{where}: drop: {text!r} is not STATISTIC > NUMBER or STATISTIC < NUMBER")
    statistic, operator = match[1], match[2]
    if statistic not in STATISTICS:
        hint = nearest(statistic, STATISTICS)
        raise UserError(f"{where}: drop: no statistic {statistic!r}{hint}; there are {', '.join(STATISTICS)}")
    return statistic, operator, threshold


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number


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
