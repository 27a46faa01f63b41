"""The names that packages give their licences, in SPDX's spelling; "" means that none is named."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from megatron_snow.corpus.licences.expressions import is_expression, is_operator
from megatron_snow.corpus.licences.identifiers import spdx_identifiers
from megatron_snow.corpus.licences.texts import from_text

_LONGEST = 8  # words; what is longer is a licence's text, not its name

# Compared without case and with runs of blanks, "_" and "-" as one "-", without "the" and "GNU" before.
_SPDX = {
    "apache": "Apache-2.0", "apache-2": "Apache-2.0", "apache-2.0": "Apache-2.0", "apache-license-2.0": "Apache-2.0",
    "apache-2.0-license": "Apache-2.0", "apache-software-license": "Apache-2.0", "apache-license,-version-2.0": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl", "bsd": "BSD-3-Clause", "bsd-license": "BSD-3-Clause", "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause", "bsd-3-clause-license": "BSD-3-Clause", "3-clause-bsd-license": "BSD-3-Clause",
    "bsd-3": "BSD-3-Clause", "bsd-2": "BSD-2-Clause",
    "bsl": "BSL-1.0", "boost": "BSL-1.0", "boost-1.0": "BSL-1.0", "cc0": "CC0-1.0", "pd": "public-domain",
    "new-bsd": "BSD-3-Clause", "expat": "MIT",
    "isc": "ISC", "isc-license": "ISC", "isc-license-(iscl)": "ISC", "mit": "MIT", "mit/x11": "MIT", "mit-license": "MIT",
    "mozilla-public-license-2.0-(mpl-2.0)": "MPL-2.0", "mpl-2": "MPL-2.0", "mpl-2.0": "MPL-2.0", "psf": "PSF-2.0",
    "psf-2": "PSF-2.0", "python-software-foundation-license": "PSF-2.0", "zlib": "Zlib",
    "public-domain": "public-domain", "mpl": "MPL-2.0", "mplv2": "MPL-2.0", "mozilla-public-license-2.0": "MPL-2.0",
    "zlib/libpng": "Zlib", "zlib/libpng-license": "Zlib",
    # Without a version: any that was ever published, as each of them says.
    "gpl": "GPL-1.0-or-later", "lgpl": "LGPL-2.0-or-later", "agpl": "AGPL-3.0-or-later",
}  # fmt: skip
_GPL = re.compile(r"(a|l|)gpl[- ]?v?(\d)(\.\d)?(\.0)?(\+|-or-later|-only)?")
_UNKNOWN = ("", "UNKNOWN", "OTHER", "NONE", "NOASSERTION", "OSI APPROVED", "LICENSE", "DUAL LICENSE")
_POINTER = re.compile(r"see (?:the )?(?:file )?(?:licen[sc]e|copying)", re.IGNORECASE)  # npm: SEE LICENSE IN FILE
_IN_BRACKETS = re.compile(r"\(([^()]+)\)$")  # PyPI's short names: "GNU General Public License v3 or later (GPLv3+)"
_OPERATOR = re.compile(r"(\s+(?:AND|OR|WITH|and|or|with)\s+|[()])")


def normalise(name: str) -> str:
    """The SPDX spelling of a licence's name or expression where it is known, else the trimmed name; "" for what names none."""
    words = " ".join(name.split())
    if words.upper() in _UNKNOWN or _POINTER.match(words):
        return ""
    if known := _spelling(words):
        return known
    if known := _expression(words):
        return known
    if (short := _IN_BRACKETS.search(words)) and (known := _spelling(short[1])):
        return known
    if len(words.split()) > _LONGEST or words.lower().startswith("gnu "):
        return from_text(name)
    return words


def _expression(words: str) -> str:
    """An expression of names that are known or one word, in SPDX's spelling; "" for what is none."""
    if "/" in words:  # Cargo's and npm's old way
        words = " OR ".join(words.split("/")) if all(map(_spelling, words.split("/"))) else words
    parts = [part.strip() for part in _OPERATOR.split(words) if part.strip()]
    if len(parts) < 2 or not is_expression(parts):
        return ""
    names = [part if part in "()" or is_operator(part) else _spelling(part) or part for part in parts]
    return "" if any(" " in name for name in names) else "".join(f" {name.upper()} " if is_operator(name) else name for name in names)


def _spelling(name: str) -> str:
    """SPDX's for one licence's name; "" where it is not known."""
    key = re.sub(r"[\s_-]+", "-", name.strip().lower()).removeprefix("the-").removeprefix("gnu-")
    if match := _GPL.fullmatch(key):
        family, major, minor, _, later = match.groups()
        return f"{family.upper()}GPL-{major}{minor or '.0'}-{'or-later' if later in ('+', '-or-later') else 'only'}"
    return _SPDX.get(key) or spdx_identifiers().get(key, "")


def from_metadata(fields: Mapping[str, str], classifiers: Sequence[str]) -> str:
    """The licence of a Python distribution: License-Expression (PEP 639), a short License, the classifiers, a text in License."""
    field = fields.get("License") or ""
    for name in (fields.get("License-Expression") or "", field if len(field.split()) <= _LONGEST else ""):
        if licence := normalise(name):
            return licence
    names = [entry.rpartition("::")[2].strip() for entry in classifiers if entry.startswith("License ::")]
    return " OR ".join(dict.fromkeys(filter(None, map(normalise, names)))) or from_text(field)
