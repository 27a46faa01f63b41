"""Debian's copyright files, free text and DEP-5 (machine-readable, with stanzas for paths)."""

from __future__ import annotations

import re

from megatron_snow.corpus.licences.names import normalise
from megatron_snow.corpus.licences.texts import from_text

_FILES_ALL = re.compile(r"^Files:\s*\*.*?^License:[ \t]*(\S[^\n]*)", re.MULTILINE | re.DOTALL)
_ANY_LICENSE = re.compile(r"^License:[ \t]*(\S[^\n]*)", re.MULTILINE)


def from_debian_copyright(text: str) -> str:
    """The licence of a Debian copyright file: DEP-5's for `Files: *`, its first one, or the words of the text."""
    for pattern in (_FILES_ALL, _ANY_LICENSE):
        if match := pattern.search(text):
            names = [match[1]] if "," in match[1] else re.split(r"\s+or\s+", match[1])
            return " OR ".join(filter(None, map(normalise, names))) or from_text(text)
    return from_text(text)
