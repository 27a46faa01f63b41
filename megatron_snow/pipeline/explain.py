"""Why a stage would run again: what its output was made from, against what it would be made from now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_snow.common.files import beside
from megatron_snow.common.records import read_json
from megatron_snow.pipeline.folders import RECORD

_SHOWN = 5  # values of a task that are told one by one


def reason_to_run(name: str, output: Path, now: Mapping[str, Any], suffixes: Sequence[str]) -> str:
    """One line that says why the task of that name is not done."""
    record = beside(output / name, RECORD)
    if not record.is_file():
        return f"{name}: was never finished here"
    before, now = read_json(record), json.loads(json.dumps(now, default=str))
    changes = list(_changes(before.get("made_from") or {}, now))
    if changes:
        return f"{name}: {'; '.join(changes)}"
    missing = [suffix for suffix in suffixes if not beside(output / name, suffix).is_file()]
    return f"{name}: {name}{missing[0]} is missing" if missing else f"{name}: an output has another size than was recorded"


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    if not before:
        return ["its record is of an older version"]
    changes = [f"{key} {before.get(key)!r} is now {now[key]!r}" for key in ("stage", "version", "suffixes") if before.get(key) != now[key]]
    old, new = dict(_leaves(before["parameters"])), dict(_leaves(now["parameters"]))
    differing = [key for key in dict.fromkeys([*new, *old]) if old.get(key) != new.get(key)]
    changes += [f"{key} {_short(old.get(key))} is now {_short(new.get(key))}" for key in differing[:_SHOWN]]
    changes += [f"and {len(differing) - _SHOWN:,} more values"] if len(differing) > _SHOWN else []
    known = dict(before["inputs"])
    inputs = dict(now["inputs"])
    changes += [f"input {name} is new" for name in inputs if name not in known]
    changes += [f"input {name} is gone" for name in known if name not in inputs]
    changes += [f"input {name} has changed" for name, digest in inputs.items() if known.get(name, digest) != digest]
    return changes


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(name, value) of what is in objects and in lists of objects: profile.rules[3].threshold."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{key}[{number}]")
    else:
        yield key, value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
