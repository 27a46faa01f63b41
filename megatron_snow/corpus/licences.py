"""Licences of repositories as SPDX-like text, from the metadata of packages and from licence files.

Kept small: what a distribution or a Debian copyright file declares, spelled the SPDX way where the
spelling is known, and the words of well-known licence texts. "" means unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_LONGEST = 8  # words; what is longer is a licence's text, not its name

# Compared without case and with runs of blanks, "_" and "-" as one "-".
_SPDX = {
    "apache": "Apache-2.0", "apache-2": "Apache-2.0", "apache-2.0": "Apache-2.0", "apache-license-2.0": "Apache-2.0",
    "apache-2.0-license": "Apache-2.0", "apache-software-license": "Apache-2.0", "apache-license,-version-2.0": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl", "bsd": "BSD-3-Clause", "bsd-license": "BSD-3-Clause", "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause", "bsd-3-clause-license": "BSD-3-Clause", "new-bsd": "BSD-3-Clause", "expat": "MIT",
    "isc": "ISC", "isc-license": "ISC", "isc-license-(iscl)": "ISC", "mit": "MIT", "mit/x11": "MIT", "mit-license": "MIT",
    "mozilla-public-license-2.0-(mpl-2.0)": "MPL-2.0", "mpl-2": "MPL-2.0", "mpl-2.0": "MPL-2.0", "psf": "PSF-2.0",
    "psf-2": "PSF-2.0", "python-software-foundation-license": "PSF-2.0", "zlib": "Zlib",
}  # fmt: skip
_GPL = re.compile(r"(a|l|)gpl-?v?(\d)(\.\d)?(\+|-or-later)?")
_UNKNOWN = ("", "UNKNOWN", "OTHER", "NONE")

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

_FILES_ALL = re.compile(r"^Files:\s*\*.*?^License:[ \t]*(\S[^\n]*)", re.MULTILINE | re.DOTALL)
_ANY_LICENSE = re.compile(r"^License:[ \t]*(\S[^\n]*)", re.MULTILINE)


def normalise(name: str) -> str:
    """The SPDX spelling of a licence's name where it is known, else the trimmed name; "" for what names none."""
    words = name.split()
    if " ".join(words).upper() in _UNKNOWN:
        return ""
    if len(words) > _LONGEST:
        return from_text(name)
    key = re.sub(r"[\s_-]+", "-", " ".join(words).lower())
    if match := _GPL.fullmatch(key):
        family, major, minor, later = match.groups()
        return f"{family.upper()}GPL-{major}{minor or '.0'}-{'or-later' if later else 'only'}"
    return _SPDX.get(key, " ".join(words))


def from_text(text: str) -> str:
    """The licence that a text speaks of, by its words; "" where none is known."""
    lowered = text.lower()
    return next((licence for pattern, licence in _TEXTS if re.search(pattern, lowered)), "")


def from_metadata(fields: Mapping[str, str], classifiers: Sequence[str]) -> str:
    """The licence of a Python distribution: License-Expression (PEP 639), a short License, the classifiers, a text in License."""
    field = fields.get("License") or ""
    for name in (fields.get("License-Expression") or "", field if len(field.split()) <= _LONGEST else ""):
        if licence := normalise(name):
            return licence
    names = [entry.rpartition("::")[2].strip() for entry in classifiers if entry.startswith("License ::")]
    return " OR ".join(normalise(name) for name in names) or from_text(field)


def from_debian_copyright(text: str) -> str:
    """The licence of a Debian copyright file: DEP-5's for `Files: *`, its first one, or the words of the text."""
    for pattern in (_FILES_ALL, _ANY_LICENSE):
        if match := pattern.search(text):
            names = [match[1]] if "," in match[1] else re.split(r"\s+or\s+", match[1])
            return " OR ".join(filter(None, map(normalise, names))) or from_text(text)
    return from_text(text)
