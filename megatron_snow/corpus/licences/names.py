"""The names that packages give their licences, in SPDX's spelling; "" means that none is named."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from megatron_snow.corpus.licences.texts import from_text

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


def from_metadata(fields: Mapping[str, str], classifiers: Sequence[str]) -> str:
    """The licence of a Python distribution: License-Expression (PEP 639), a short License, the classifiers, a text in License."""
    field = fields.get("License") or ""
    for name in (fields.get("License-Expression") or "", field if len(field.split()) <= _LONGEST else ""):
        if licence := normalise(name):
            return licence
    names = [entry.rpartition("::")[2].strip() for entry in classifiers if entry.startswith("License ::")]
    return " OR ".join(normalise(name) for name in names) or from_text(field)
