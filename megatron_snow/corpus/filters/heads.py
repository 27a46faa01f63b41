"""Statistics of a file's name and first lines, and go-enry's word on whether it was generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from megatron_snow.corpus.filters.characters import Rows, Values, bodies_of
from megatron_snow.pipeline import Texts

_BYTES_A_CHARACTER = 4  # at most
# What go-enry is given it copies, and it tries a dozen expressions on the whole path: 30 us a document, 5 with what it needs.
_READ_WHOLE = (".js", ".css", ".xml", ".yml", ".ps", ".eps", ".pfa")  # of others it reads 40 lines at most
_LINES_READ, _SHORT = 64, 16_000  # bytes that are copied sooner than cut
_TELLING = ("Pods/", "Carthage/", "node_modules/", "vendor/", "Godeps/", "__generated__/", ".pnp.", ".zep.")  # folders it looks for


def measure(statistic: str, texts: Texts, paths: Sequence[str | None], rows: Rows, options: Mapping[str, Any]) -> Values:
    """head_phrases, file_name, generated or vendored of some rows; `paths` are those of the rows."""
    if statistic == "head_phrases":
        return _phrases_in_heads(texts, rows, options)
    if statistic == "file_name":
        names, parts = frozenset(options.get("names", ())), tuple(options.get("parts", ()))
        return np.array([_is_named(path or "", names, parts) for path in paths], np.float64)
    import enry  # a Go runtime, which other profiles need not start

    if statistic == "vendored":
        return np.array([enry.is_vendor(path or "") for path in paths], np.float64)
    bodies = bodies_of(texts, rows)
    return np.array([enry.is_generated(*for_enry(path or "", body)) for path, body in zip(paths, bodies)], np.float64)


def for_enry(path: str, body: bytes) -> tuple[str, bytes]:
    """The parts of a path and a text that decide what go-enry says of them."""
    name = path if any(folder in path for folder in _TELLING) else path.rpartition("/")[2]
    whole = len(body) < _SHORT or name.lower().endswith(_READ_WHOLE)
    return name, body if whole else first_lines(body, _LINES_READ)


def _phrases_in_heads(texts: Texts, rows: Rows, options: Mapping[str, Any]) -> Values:
    phrases = [phrase.lower().encode() for phrase in options.get("phrases", ())]
    characters, lines = options.get("characters", 0), options.get("lines", 1)
    if characters:
        heads = (_first_characters(body, characters) for body in bodies_of(texts, rows, _BYTES_A_CHARACTER * characters))
    else:
        heads = (first_lines(body, lines) for body in bodies_of(texts, rows))
    return np.array([_found(phrases, head.lower()) for head in heads], np.float64)


def _found(phrases: Sequence[bytes], head: bytes) -> int:
    count = 0
    for phrase in phrases:
        count += phrase in head
    return count


def _first_characters(body: bytes, count: int) -> bytes:
    return body[:count] if body.isascii() else body.decode(errors="ignore")[:count].encode()


def first_lines(body: bytes, count: int) -> bytes:
    """The first lines of a text, with what ends them."""
    stop = -1
    for _ in range(count):
        stop = body.find(b"\n", stop + 1)
        if stop < 0:
            return body
    return body[: stop + 1]


def _is_named(path: str, names: frozenset[str], parts: tuple[str, ...]) -> bool:
    name = PurePosixPath(path).name.lower()
    return name.partition(".")[0] in names or any(part in name for part in parts)
