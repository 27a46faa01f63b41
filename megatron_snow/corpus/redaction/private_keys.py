"""Private keys in PEM and PuTTY form, as a file or inside a string: the base64 of the body."""

from __future__ import annotations

import re
from collections.abc import Iterator

HINTS = ("private key", "putty-user-key-file")
# OpenSSL's, OpenSSH's, PGP's and SSH2's names; the body is at most 32 kB, a key of 16,384 bits has 13.
_BEGIN = re.compile(rb"BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-{0,5}|PuTTY-User-Key-File-[23]:")
_END = re.compile(rb"-{2,5}\s?END |Private-MAC:")
_BODY_BYTES = 32_000
_LINE = 40  # characters; lines of a body have 64, 70 or 76, names of code are shorter
# An escape ("\n" between lines in a string) is passed over, so that its letter is no part of a run.
_RUN = re.compile(rb"\\.|([A-Za-z0-9+/]{16,}={0,2})", re.DOTALL)
_TAIL = re.compile(rb"(?:^|[^A-Za-z0-9+/=\\]|\\[nr])([A-Za-z0-9+/]{1,15}={0,2})(?=(?:\\[nr]|[^A-Za-z0-9+/=]){0,40}$)")


def private_keys(data: bytes, start: int, end: int, stop: int) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """(start, end, what is to be replaced) of each key that begins in a line [start, end) of a text that ends at `stop`."""
    for begin in _BEGIN.finditer(data, start, end):
        body, limit = begin.end(), min(stop, begin.end() + _BODY_BYTES)
        close = _END.search(data, body, limit)
        if close is None:
            continue
        parts = [match.span(1) for match in _RUN.finditer(data, body, close.start()) if match.group(1)]
        if max((b - a for a, b in parts), default=0) < _LINE:  # the frame alone, in code that reads or writes keys
            continue
        tail = _TAIL.search(data, parts[-1][1], close.start())
        yield begin.start(), close.start(), [*parts, *([tail.span(1)] if tail else [])]
