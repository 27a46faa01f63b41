"""The licence that a file's first lines name: SPDX-License-Identifier, else the words of a known licence or of its notice."""

from __future__ import annotations

import re

from megatron_snow.corpus.licences.expressions import all_of, expression_at_start
from megatron_snow.corpus.licences.names import normalise
from megatron_snow.corpus.licences.texts import from_notice

HEAD_BYTES = 4096  # characters of a file that are looked at: the longest usual header, BSD-4-Clause with its holders, has 2,000

# A tag's line, and what can stand in an expression; a comment's end and a full stop cannot.
_TAG = re.compile(r"SPDX-License-Identifier:([^\r\n]*)", re.IGNORECASE)
_TOKEN = re.compile(r"[ \t]*([()]|[A-Za-z0-9](?:[A-Za-z0-9.+:-]*[A-Za-z0-9+])?)")
_HINTS = ("licen", "redistribut", "permission", "public domain", "plainly marked", "gpl")  # one of which every rule's words have


def from_header(head: str) -> str:
    """The licence named in `head`, the first HEAD_BYTES of a file; "" where none is."""
    lowered = head.lower()
    if not any(hint in lowered for hint in _HINTS):
        return ""
    return (_tagged(head) if "spdx-license-identifier" in lowered else "") or from_notice(head)


def _tagged(head: str) -> str:
    """What all the tags say together, as REUSE reads them: a file with parts of others has theirs too."""
    return all_of(filter(None, (normalise(_expression(line)) for line in _TAG.findall(head))))


def _expression(line: str) -> str:
    """As much of the rest of a tag's line as is an expression, without stray brackets."""
    tokens, position = [], 0
    while match := _TOKEN.match(line, position):
        tokens.append(match[1])
        position = match.end()
    return " ".join(tokens[: expression_at_start(tokens)])
