"""What stands in place of a finding: text of the same form that names nobody and opens nothing.

A secret's stand-in is "REDACTED" over and over in its length and alphabet, not something made from a digest of it: a
digest tells whoever guesses the secret that the guess is right. Punctuation stays. Addresses are numbered in the order
in which a document first names them, so what is different stays different (keys of a map, cases of a switch).
"""

from __future__ import annotations

import re

_RUN = re.compile(rb"[A-Za-z0-9]+")
_WORD = b"REDACTED"
# RFC 5737's documentation networks, 254 hosts each.
_NETWORKS = (b"192.0.2.", b"198.51.100.", b"203.0.113.")


def secret(value: bytes) -> bytes:
    """As long, of the same alphabet: digits 0, hexadecimal 0, else the word in the case that the value allows."""
    if re.fullmatch(rb"[^A-Za-z]*|[^g-zG-Z]*", value):
        word = b"0"
    else:
        word = _WORD if re.search(rb"[A-Z]", value) else _WORD.lower()
    return _RUN.sub(lambda run: (word * (len(run[0]) // len(word) + 1))[: len(run[0])], value)


def email(number: int) -> bytes:
    """The number-th (from 1) address of a document, at a reserved domain (RFC 2606)."""
    return b"user%d@example.com" % number


def ipv4(number: int) -> bytes:
    """Of the documentation networks (RFC 5737); the 763rd is the first again."""
    network, host = divmod((number - 1) % (254 * len(_NETWORKS)), 254)
    return _NETWORKS[network] + b"%d" % (host + 1)


def ipv6(number: int) -> bytes:
    """Of the documentation prefix (RFC 3849)."""
    return b"2001:db8::%x" % ((number - 1) % 0xFFFF + 1)
