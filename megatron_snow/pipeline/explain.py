"""Why a stage would run again: what its output was made from, against what it would be made from now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_snow.common.files import beside
from megatron_snow.common.records import read_json
from megatron_snow.pipeline.folders import RECORD


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
    old, new = before["parameters"], now["parameters"]
    differing = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    changes += [f"{key} {_short(old.get(key))} is now {_short(new.get(key))}" for key in differing]
    known = dict(before["inputs"])
    inputs = dict(now["inputs"])
    changes += [f"input {name} is new" for name in inputs if name not in known]
    changes += [f"input {name} is gone" for name in known if name not in inputs]
    changes += [f"input {name} has changed" for name, digest in inputs.items() if known.get(name, digest) != digest]
    return changes


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
