"""A sample of the files that collecting leaves out, a rule at a time, for reading: OUTPUT/rejects/RULE.jsonl.

The sample of a rule is the files whose place has the smallest digest, so it does not depend on workers.
"""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from megatron_snow.common.checksums import text_digest
from megatron_snow.corpus.sources import RawFile

_SHOWN = 4000  # characters of a file


class LeftOut:
    """The sample of one task, at most `samples` files a rule."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._rows: dict[str, list[tuple[str, str]]] = defaultdict(list)  # (digest of the place, the line to write)

    def add(self, raw: RawFile, rule: str, language: str | None) -> None:
        """A file that `rule` leaves out; its language where it is known."""
        digest, rows = text_digest(raw.provenance), self._rows[rule]
        if len(rows) < self._samples or (rows and digest < rows[-1][0]):
            rows.append((digest, json.dumps(_row(raw, rule, digest, language))))
            self._rows[rule] = heapq.nsmallest(self._samples, rows)

    def write(self, path: Path) -> None:
        """A line a file, as `outcome.gather_rejects` reads them."""
        with open(path, "w", encoding="utf-8") as file:
            for rule in sorted(self._rows):
                file.writelines(f"{line}\n" for _, line in self._rows[rule])


def join_left_out(paths: Iterable[Path], joined: Path) -> None:
    """The samples of several tasks in one file."""
    with open(joined, "w", encoding="utf-8") as file:
        for path in paths:
            file.write(path.read_text(encoding="utf-8"))


def _row(raw: RawFile, rule: str, digest: str, language: str | None) -> dict[str, Any]:
    shown = raw.data[: 4 * _SHOWN].decode("utf-8", "replace") if isinstance(raw.data, bytes) else raw.data
    return {
        "rule": rule,
        "id": digest,  # of the place: what was not read has no content to digest
        "repository": raw.repository,
        "path": raw.path,
        "language": language or "",
        "size": raw.size,
        "provenance": raw.provenance,
        "content": "" if rule == "binary" else shown[:_SHOWN].encode("utf-8", "replace").decode(),  # no half characters
    }
