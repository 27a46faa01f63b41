"""The licence that a file's first lines name: SPDX-License-Identifier, else the header of a well-known licence."""

from __future__ import annotations

import re

from megatron_snow.corpus.licences.names import normalise
from megatron_snow.corpus.licences.texts import from_notice

HEAD_BYTES = 4096  # of a file that are looked at: the longest usual header, BSD-4-Clause with its holders, has 2,000

_SPDX = re.compile(r"SPDX-License-Identifier:[ \t]*\(?([A-Za-z0-9.+():\- ]+)")
_WORDS = re.compile(r"licen[sc]e|redistribut|permission|public domain|copying", re.IGNORECASE)


def from_header(head: str) -> str:
    """The licence named in `head`, the first HEAD_BYTES of a file; "" where none is."""
    if not _WORDS.search(head):
        return ""
    if match := _SPDX.search(head):
        return normalise(match[1].strip().removesuffix(")") if match[0].count("(") < match[0].count(")") else match[1].strip())
    return from_notice(head)
