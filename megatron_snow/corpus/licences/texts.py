"""Licences by the words of their texts."""

from __future__ import annotations

import re

# Words of a licence text -> its identifier; the first that is found counts, so the special stand first.
_TEXTS = (
    (r"apache license,?\s+version 2\.0", "Apache-2.0"),
    (r"gnu lesser general public\s+license", "LGPL-2.1-or-later"),
    (r"gnu affero general public\s+license", "AGPL-3.0-or-later"),
    (r"version 3[^.]{0,40}gnu general public|gnu general public\s+license[^.]{0,40}version 3|gpl-3", "GPL-3.0-or-later"),
    (r"gnu general public\s+license|gpl-2", "GPL-2.0-or-later"),
    (r"mozilla public license,?\s+v(?:ersion|\.)? ?2\.0", "MPL-2.0"),
    (r"permission is hereby granted, free of charge,\s+to any person", "MIT"),
    (r"permission to use, copy, modify, and(?:/or)? distribute this\s+software", "ISC"),
    (r"neither the name of", "BSD-3-Clause"),
    (r"redistribution and use in source and binary\s+forms", "BSD-2-Clause"),
    (r"python software foundation license", "PSF-2.0"),
    (r"public domain", "public-domain"),
)


def from_text(text: str) -> str:
    """The licence that a text speaks of, by its words; "" where none is known."""
    lowered = text.lower()
    return next((licence for pattern, licence in _TEXTS if re.search(pattern, lowered)), "")


def from_notice(head: str) -> str:
    """The licence that the first lines of a source file name; "" where none is known."""
    return from_text(head)
