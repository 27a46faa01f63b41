"""benchmarks.lock.json: which benchmark files a corpus was cleaned of, by digest, so that another run can be held to the same.

{"ngram": 10, "benchmarks": [{"name": "humaneval", "file": "HumanEval.jsonl.gz", "sha256": "...", "problems": 164,
  "needles": 659, "trivial": [{"task": "HumanEval/2", "kind": "solution", "text": "return number % 1.0", "reason": "short"}, ...]}]}
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_snow.common.errors import UserError
from megatron_snow.common.records import read_json
from megatron_snow.corpus.decontamination.needles import Needle, name_of

LOCK = "benchmarks.lock.json"
_KEY = "corpus.decontamination.lock"


def lock_of(
    files: Mapping[str, Path], problems: Mapping[str, int], needles: Sequence[Needle], reasons: Sequence[str], ngram: int
) -> dict[str, Any]:
    """What the lock file holds; `files` by the benchmark's name, `reasons` one a needle ("": it is searched for)."""
    return {"ngram": ngram, "benchmarks": [_entry(name, path, problems[name], needles, reasons) for name, path in files.items()]}


def _entry(name: str, path: Path, problems: int, needles: Sequence[Needle], reasons: Sequence[str]) -> dict[str, Any]:
    own = [(needle, reason) for needle, reason in zip(needles, reasons) if needle.benchmark == name]
    trivial = [{"task": n.task, "kind": n.kind, "text": n.text.strip(), "reason": reason} for n, reason in own if reason]
    return {"name": name, "file": path.name, "sha256": sha256(path), "problems": problems, "needles": len(own), "trivial": trivial}


def check_lock(lock: str, names: Sequence[str], paths: Sequence[Path]) -> None:
    """UserError where the benchmarks of a run are not those of the lock file, or one of their files is another."""
    if not Path(lock).is_file():
        raise UserError(f'{_KEY}: {lock} is not there; give the {LOCK} of an earlier run, or "" for a run that writes a new one')
    wanted = _digests(lock)
    given = dict(zip(map(name_of, names), paths))
    missing, extra = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    if missing or extra:
        what = f"has {missing[0]}, which corpus.decontamination.benchmarks lacks" if missing else f"lacks {extra[0]}"
        raise UserError(f"{_KEY}: {lock} {what}; make both name the same benchmarks")
    for name, path in given.items():
        digest = sha256(path)
        if digest != wanted[name]:
            raise UserError(
                f"{path}: not the {name} of {lock}: its sha256 is {digest}, there {wanted[name]}; restore that file or change {_KEY}"
            )


def _digests(lock: str) -> dict[str, str]:
    try:
        return {entry["name"]: entry["sha256"] for entry in read_json(Path(lock))["benchmarks"]}
    except (KeyError, TypeError) as error:
        raise UserError(f"{lock}: not a {LOCK} ({error!r}); give the one of an earlier run as {_KEY}") from error


def sha256(path: Path) -> str:
    """Of a file's bytes, as `sha256sum` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
