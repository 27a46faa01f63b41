"""Findings of a text, and the text without them: a pure function of the text and the settings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from megatron_snow.config import Redaction
from megatron_snow.corpus.redaction import standins
from megatron_snow.corpus.redaction.addresses import emails, ipv4, ipv6
from megatron_snow.corpus.redaction.prefilter import Candidate, Hints, candidates
from megatron_snow.corpus.redaction.private_keys import HINTS as KEY_HINTS
from megatron_snow.corpus.redaction.private_keys import private_keys
from megatron_snow.corpus.redaction.secrets import Detector, detectors
from megatron_snow.pipeline import Texts


@dataclass(frozen=True)
class Finding:
    """What was replaced, never with the value: characters [start, end) of the text as it was, on `line` (from 1)."""

    kind: str  # secret, email, ipv4 or ipv6
    detector: str
    line: int
    start: int
    end: int


class _Hit(NamedTuple):
    kind: str
    detector: str
    start: int  # bytes
    end: int
    parts: tuple[tuple[int, int], ...]  # that are replaced


_NUMBERED: Mapping[str, Callable[[int], bytes]] = {"email": standins.email, "ipv4": standins.ipv4, "ipv6": standins.ipv6}
_ADDRESSES = (("email", emails), ("ipv4", ipv4), ("ipv6", ipv6))
_KEY_BIT = 3  # of private keys; the three bits before are the addresses', those after the secrets'


def redact_text(text: str, settings: Redaction) -> tuple[str, list[Finding]]:
    """The text with stand-ins in place of what the settings look for, and the findings in order."""
    data = text.encode()
    texts = Texts(np.frombuffer(data, np.uint8), np.array([0, len(data)], np.int64))
    for _, changed, findings in redact_texts(texts, settings):
        return changed.decode(), findings
    return text, []


def redact_texts(texts: Texts, settings: Redaction) -> Iterator[tuple[int, bytes, list[Finding]]]:
    """(number, text without them, findings) of each text that has any, in order."""
    hints = _hints(settings.secrets, settings.emails, settings.addresses)
    by_text: dict[int, list[Candidate]] = defaultdict(list)
    for line in candidates(texts, hints):
        by_text[line.text].append(line)
    for number, lines in by_text.items():
        start, stop = int(texts.offsets[number]), int(texts.offsets[number + 1])
        data = texts.data[start:stop].tobytes()
        hits = _without_overlaps(hit for line in lines for hit in _hits(data, line, start, settings))
        edits = _edits(data, hits)
        if edits:
            yield number, _edited(data, edits), _findings(data, [hit for hit in hits if any(part in edits for part in hit.parts)])


@cache
def _hints(secrets: bool, emails: bool, addresses: bool) -> Hints:
    literals: dict[str, int] = defaultdict(int)
    found = detectors() if secrets else ()
    for bit, hints in enumerate([KEY_HINTS if secrets else (), *(detector.hints for detector in found)], _KEY_BIT):
        for hint in hints:
            literals[hint] |= 1 << bit
    return Hints(dict(literals), int(emails), 2 * addresses, 4 * addresses, 1 << (_KEY_BIT + len(found)) if secrets else 0)


def _hits(data: bytes, line: Candidate, origin: int, settings: Redaction) -> Iterator[_Hit]:
    """What the detectors of a line's mask find, the surest first."""
    start, end = line.start - origin, line.end - origin
    if settings.secrets:
        if line.mask >> _KEY_BIT & 1:
            for begin, close, parts in private_keys(data, start, end, len(data)):
                yield _Hit("secret", "PrivateKey", begin, close, tuple(parts))
        for detector in _with_bits(line.mask >> (_KEY_BIT + 1)):
            for span in detector.find(data, start, end):
                yield _Hit("secret", detector.name, *span, (span,))
    for bit, (kind, find) in enumerate(_ADDRESSES):
        if line.mask >> bit & 1 and (settings.emails if kind == "email" else settings.addresses):
            for span in find(data, start, end):
                yield _Hit(kind, kind, *span, (span,))


def _with_bits(mask: int) -> Iterator[Detector]:
    return (detector for bit, detector in enumerate(detectors()) if mask >> bit & 1) if mask else iter(())


def _without_overlaps(hits: Iterable[_Hit]) -> list[_Hit]:
    """In order; of two that share a byte the one that was found first."""
    kept: list[_Hit] = []
    for hit in hits:
        if all(hit.end <= other.start or hit.start >= other.end for other in kept[-64:]):
            kept.append(hit)
    return sorted(kept, key=lambda hit: hit.start)


def _edits(data: bytes, hits: Iterable[_Hit]) -> dict[tuple[int, int], bytes]:
    """What replaces which bytes; what is a stand-in already is left out."""
    numbers: dict[str, dict[bytes, int]] = defaultdict(dict)
    edits = {}
    for hit in hits:
        for start, end in hit.parts:
            value = data[start:end]
            if hit.kind in _NUMBERED:
                known = numbers[hit.kind]
                edits[start, end] = _NUMBERED[hit.kind](known.setdefault(value.lower(), len(known) + 1))
            elif standins.secret(value) != value:
                edits[start, end] = standins.secret(value)
    return edits


def _edited(data: bytes, edits: Mapping[tuple[int, int], bytes]) -> bytes:
    pieces, position = [], 0
    for (start, end), text in edits.items():
        pieces += [data[position:start], text]
        position = end
    return b"".join([*pieces, data[position:]])


def _findings(data: bytes, hits: Iterable[_Hit]) -> list[Finding]:
    findings, line, characters, position = [], 1, 0, 0
    for hit in hits:
        before = data[position : hit.start]
        line += before.count(b"\n")
        characters += len(before.decode())
        length = len(data[hit.start : hit.end].decode())
        findings.append(Finding(hit.kind, hit.detector, line, characters, characters + length))
        position = hit.start
    return findings
