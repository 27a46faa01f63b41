"""Licences: what packages, licence files and headers of files say, as SPDX expressions, and what kind each is.

    licences = licence_map({"LICENSE": mit_text, "vendor/zlib/LICENSE": zlib_text}, declared="MIT")
    licences.licence_of("vendor/zlib/inflate.c", head)   # "Zlib"
    kind_of("MIT OR GPL-2.0-only")                       # "permissive"

"" is a licence that nothing speaks of ("unlicensed"); LicenseRef-unknown a text that none of the known licences is.
"""

from megatron_snow.corpus.licences.debian import from_debian_copyright
from megatron_snow.corpus.licences.headers import HEAD_BYTES, from_header
from megatron_snow.corpus.licences.kinds import kind_of
from megatron_snow.corpus.licences.mapping import LicenceMap, is_licence_file, licence_map
from megatron_snow.corpus.licences.names import from_metadata, normalise
from megatron_snow.corpus.licences.texts import from_text

__all__ = [
    "HEAD_BYTES",
    "LicenceMap",
    "from_debian_copyright",
    "from_header",
    "from_metadata",
    "from_text",
    "is_licence_file",
    "kind_of",
    "licence_map",
    "normalise",
]
