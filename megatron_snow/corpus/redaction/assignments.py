"""Secrets by their place: a random string that is given to a name like `api_key`, and the password of a URL.

A password that a person could remember is not looked for: in code, `password = "secret"` is a placeholder or a test.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

_KINDS_OF_KEY = ("api", "access", "auth", "private", "account", "encryption", "signing")
HINTS = (
    "secret",
    "passw",
    "passphrase",
    "pwd",
    "token",
    "credential",
    *(f"{kind}{sign}key" for kind in _KINDS_OF_KEY for sign in ("_", "-", "")),
)
LEAST = 16  # characters of a random string

_NAME = rb"(?:secret|passw|passphrase|pwd|token|credential|(?:api|access|auth|private|account|encryption|signing)[_-]?key)[\w-]{0,30}"
# An operator, a call, a pair, or white space alone: `#define API_KEY "..."`, `set -x API_KEY "..."`.
_QUOTED = re.compile(
    _NAME + rb"['\"`\]\)]{0,3}(?:\s{0,4}:\s{0,4}[\w.\[\]<>]{1,24})?\s{0,24}(?::=|=>|={1,3}|:|\(|,|(?<=\s))\s{0,8}[brfu@]{0,2}(['\"`])"
    rb"([!#-&(-;=?-\[\]^_a-z|~]{16,512})\1",
    re.IGNORECASE,
)
# .env, .ini, YAML: nothing else on the line.
_BARE = re.compile(rb"^\s*(?:export\s+)?[\w.-]{0,40}" + _NAME + rb"\s{0,8}[=:]\s{0,8}([A-Za-z0-9+/=_-]{20,512})\s*$", re.IGNORECASE)
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
# Words and runs that nobody draws; two percent escapes and `$name[`, which belong to what builds the string.
_PLACEHOLDER = re.compile(
    rb"redacted|example|sample|placeholder|change.?me|your|dummy|fake|x{4}|0{6}|1234|abcd|\.\.|%[0-9a-f]{2}.*%[0-9a-f]{2}|\$\w+\[",
    re.IGNORECASE,
)
# "publicKeyToken", "hashed_password": published, or not the secret itself.
_NO_SECRET = re.compile(rb"public|hash|digest|checksum|fingerprint|sha\d|md5|_id\b", re.IGNORECASE)
_HEX = re.compile(rb"[0-9a-f]+$", re.IGNORECASE)

# user:password@ of a URL; no brackets, dollars or percent signs: those are templates.
_URL = re.compile(rb"://[\w.~-]{1,64}:([^\s:/@'\"`<>(){}\[\]$%\\*]{6,128})@[\w\[-]")
_MEANT = re.compile(rb"passw(?:or)?d|passwort|pass|pwd|secret|token|user(?:name)?|admin|root|test|foo|bar|baz|hunter2", re.IGNORECASE)


def assigned(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Random strings in quotes behind a name that says secret, or alone on a line of settings."""
    for match in _QUOTED.finditer(data, start, end):
        if not _NO_SECRET.search(data, max(start, match.start() - 16), match.start(2)) and is_random(match.group(2)):
            yield match.span(2)
    bare = _BARE.match(data[start:end])
    if bare and not _NO_SECRET.search(data, start, start + bare.start(1)) and is_random(bare.group(1)):
        yield start + bare.start(1), start + bare.end(1)


def url_passwords(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The password of `scheme://user:password@host`, unless it is a word that stands for one."""
    for match in _URL.finditer(data, start, end):
        if not _MEANT.search(match.group(1)) and not _PLACEHOLDER.search(match.group(1)):
            yield match.span(1)


def is_random(value: bytes) -> bool:
    """Whether a string looks drawn, not written: kinds of character change often, and few repeat.

    Between two neighbours of a random string the kind (digit, capital, small letter, sign) changes with probability 0.44
    (base62; a capital before a small letter does not count), 0.40 (base36) or 0.47 (hexadecimal); in names of words it
    changes at their ends, at about 0.15. Entropy has detect-secrets' limit for hexadecimal, 3.0 bits, and for other
    alphabets 0.75 of what the length allows: its 4.5 bits cannot be reached in 20 characters. Hexadecimal of under 32
    characters is the id or hash of something more often than a key.
    """
    plain = re.sub(rb"[^A-Za-z0-9]", b"", value)
    digits, hexadecimal = len(re.findall(rb"\d", plain)), _HEX.match(plain)
    if len(plain) < (32 if hexadecimal else 0.75 * LEAST) or digits < 2 or digits == len(plain):
        return False
    if _UUID.search(value) or _PLACEHOLDER.search(value) or b":/" in value or value.startswith(b"urn:"):
        return False
    one_case = plain.islower() or plain.isupper()  # the ends of words in camel case are no changes there
    if _changes(value) < (0.2 if one_case else 0.27) * len(plain):
        return False
    return _entropy(value) >= (3.0 if hexadecimal else 0.75 * min(math.log2(len(value)), 6))


def _kind(byte: int) -> int:
    character = chr(byte)
    if character.isalnum():
        return ord("0" if character.isdigit() else "A" if character.isupper() else "a")
    return ord("-" if character in "_-./~" else "!")


_KINDS = bytes(_kind(byte) if byte < 128 else ord("!") for byte in range(256))


def _changes(value: bytes) -> int:
    """Neighbours of different kinds; what joins words (`_-./~`) and a capital before a small letter do not count."""
    kinds = value.translate(_KINDS)
    return sum(a != b and 45 not in (a, b) and (a, b) != (65, 97) for a, b in pairwise(kinds))


def _entropy(value: bytes) -> float:
    """Shannon's, in bits a character."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())
