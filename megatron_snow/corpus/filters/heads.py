"""Statistics of a file's name and first lines, and go-enry's word on whether it was generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from megatron_snow.corpus.filters.characters import Rows, Values, body_at
from megatron_snow.pipeline import Texts

_BYTES_A_CHARACTER = 4  # at most


def measure(statistic: str, texts: Texts, paths: Sequence[str | None], rows: Rows, options: Mapping[str, Any]) -> Values:
    """head_phrases, file_name, generated or vendored of some rows; `paths` are those of the rows."""
    if statistic == "head_phrases":
        phrases = [phrase.lower().encode() for phrase in options.get("phrases", ())]
        heads = (_head(texts, row, options) for row in rows)
        return np.array([sum(phrase in head for phrase in phrases) for head in heads], np.float64)
    if statistic == "file_name":
        names, parts = frozenset(options.get("names", ())), tuple(options.get("parts", ()))
        return np.array([_is_named(path or "", names, parts) for path in paths], np.float64)
    import enry  # a Go runtime, which other profiles need not start

    if statistic == "vendored":
        return np.array([enry.is_vendor(path or "") for path in paths], np.float64)
    return np.array([enry.is_generated(path or "", body_at(texts, row)) for path, row in zip(paths, rows)], np.float64)


def _head(texts: Texts, row: int, options: Mapping[str, Any]) -> bytes:
    """The first characters or lines in small letters (ASCII)."""
    begin, end = texts.offsets[row], texts.offsets[row + 1]
    if "characters" in options:
        head = texts.data[begin : min(end, begin + _BYTES_A_CHARACTER * options["characters"])].tobytes()
        return head.decode(errors="ignore")[: options["characters"]].encode().lower()
    body = texts.data[begin:end].tobytes()
    stop = -1
    for _ in range(options.get("lines", 1)):
        stop = body.find(b"\n", stop + 1)
        if stop < 0:
            return body.lower()
    return body[:stop].lower()


def _is_named(path: str, names: frozenset[str], parts: tuple[str, ...]) -> bool:
    name = PurePosixPath(path).name.lower()
    return name.partition(".")[0] in names or any(part in name for part in parts)
