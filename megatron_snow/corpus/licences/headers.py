"""The licence that a file's first lines name: SPDX-License-Identifier, else the words of a known licence or of its notice."""

from __future__ import annotations

import re

from megatron_snow.corpus.licences.names import normalise
from megatron_snow.corpus.licences.texts import from_notice

HEAD_BYTES = 4096  # characters of a file that are looked at: the longest usual header, BSD-4-Clause with its holders, has 2,000

_SYMBOL = r"\(*[A-Za-z0-9.+:-]*[A-Za-z0-9.+]\)*"
_SPDX = re.compile(rf"SPDX-License-Identifier:[ \t]*({_SYMBOL}(?: +(?:AND|OR|WITH|and|or|with) +{_SYMBOL})*)")
_HINTS = ("licen", "redistribut", "permission", "public domain", "plainly marked", "gpl")  # one of which every rule's words have


def from_header(head: str) -> str:
    """The licence named in `head`, the first HEAD_BYTES of a file; "" where none is."""
    lowered = head.lower()
    if not any(hint in lowered for hint in _HINTS):
        return ""
    if match := _SPDX.search(head):
        return normalise(match[1])
    return from_notice(head)
