"""Licences: their names in SPDX's spelling, expressions of them, and kinds."""

from __future__ import annotations

import pytest

from megatron_snow.config.schema import LicenceKind
from megatron_snow.corpus.licences import from_metadata, kind_of, normalise
from megatron_snow.corpus.licences.expressions import all_of

BSD_2 = "Redistribution and use in source and binary forms, with or without modification, are permitted."


@pytest.mark.parametrize(
    ("name", "spdx"),
    [
        ("Apache Software License", "Apache-2.0"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-2.0", "GPL-2.0-only"),
        ("LGPLv2.1", "LGPL-2.1-only"),
        ("AGPL-3.0-or-later", "AGPL-3.0-or-later"),
        ("Expat", "MIT"),
        ("bsd-3-clause", "BSD-3-Clause"),
        ("bsl-1.0", "BSL-1.0"),  # by SPDX's list
        ("MIT AND MPL-2.0", "MIT AND MPL-2.0"),
        ("mit or gpl-2.0+", "MIT OR GPL-2.0-or-later"),
        ("(MIT OR CC0-1.0) AND Zlib", "(MIT OR CC0-1.0) AND Zlib"),
        ("GPL-2.0 WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("GNU General Public License v3 or later (GPLv3+)", "GPL-3.0-or-later"),  # eight words, of PyPI's classifiers
        ("GNU Affero General Public License v3", "AGPL-3.0-only"),
        ("GNU Library or Lesser General Public License (LGPL)", "LGPL-2.0-or-later"),
        ("Boost Software License 1.0 (BSL-1.0)", "BSL-1.0"),
        ("GNU GPL v3", "GPL-3.0-only"),
        ("GPL", "GPL-1.0-or-later"),
        ("The MIT License", "MIT"),
        ("MIT/Apache-2.0", "MIT OR Apache-2.0"),  # Cargo's old way
        ("zlib/libpng", "Zlib"),  # one licence
        ("Custom/Proprietary", "Custom/Proprietary"),
        ("gpl-2.0 or LicenseRef-Own", "GPL-2.0-only OR LicenseRef-Own"),
        (" AND ".join(["MIT", "ISC", "Zlib", "LicenseRef-A", "LicenseRef-B"]), "MIT AND ISC AND Zlib AND LicenseRef-A AND LicenseRef-B"),
        ("MIT)", "MIT)"),  # no expression: as it stands
        ("My Own Terms", "My Own Terms"),
        ("My Own Terms or GPL-2.0", "My Own Terms or GPL-2.0"),
        ("UNLICENSED", "UNLICENSED"),  # npm's word for all rights reserved
        ("SEE LICENSE IN LICENSE.md", ""),
        ("UNKNOWN", ""),
        ("", ""),
    ],
)
def test_normalise(name: str, spdx: str) -> None:
    assert normalise(name) == spdx


def test_a_text_in_the_license_field_does_not_win_over_the_classifier() -> None:
    text = "Copyright 2001\n" + f"{BSD_2} " * 20
    assert from_metadata({"License": text}, ["License :: OSI Approved :: MIT License"]) == "MIT"
    assert from_metadata({"License": text}, ["License :: OSI Approved"]) == "BSD-2-Clause"
    assert from_metadata({"License": text}, []) == "BSD-2-Clause"
    assert from_metadata({"License-Expression": "ISC", "License": "MIT"}, []) == "ISC"
    assert from_metadata({}, ["Programming Language :: Python"]) == ""


@pytest.mark.parametrize(
    ("licence", "kind"),
    [
        ("", "unlicensed"),
        ("MIT", "permissive"),
        ("Artistic-2.0", "permissive"),  # by Blue Oak's list; copyleft for ScanCode
        ("CC-BY-SA-4.0", "copyleft"),
        ("MPL-2.0", "copyleft"),
        ("public-domain", "permissive"),
        ("MIT OR GPL-2.0-only", "permissive"),
        ("MIT AND GPL-2.0-only", "copyleft"),
        ("MIT AND LicenseRef-unknown", "unknown"),
        ("GPL-2.0-only OR LicenseRef-unknown", "copyleft"),
        ("(MIT OR GPL-2.0-only) AND LGPL-2.1-only", "copyleft"),
        ("Apache-2.0 WITH LLVM-exception", "permissive"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "copyleft"),
        ("BUSL-1.1", "unknown"),
        ("UNLICENSED", "unknown"),
        ("My Own Terms", "unknown"),
        ("MIT OR", "unknown"),
        ("MIT OR OR MIT", "unknown"),
        ("MIT ISC", "unknown"),
        ("(MIT", "unknown"),
        ("MIT)", "unknown"),
        ("()", "unknown"),
        ("( ) AND MIT", "unknown"),
        ("(MIT) WITH LLVM-exception", "unknown"),
        ("mit or gpl-2.0", "permissive"),
        ("MIT AND (ISC OR GPL-2.0-only)", "permissive"),
        ("GPL-2.0-only AND MIT OR ISC", "permissive"),  # AND binds before OR
        ("(" * 5000 + "MIT" + ")" * 5000, "permissive"),
        ("EPL-1.0+", "copyleft"),  # SPDX's "or later" of any licence
    ],
)
def test_kind(licence: str, kind: LicenceKind) -> None:
    assert kind_of(licence) == kind


@pytest.mark.parametrize(("joined", "parts"), [("MIT", ["MIT", "MIT"]), ("MIT OR ISC", ["MIT OR ISC"]), ("", [])])
def test_joining(joined: str, parts: list[str]) -> None:
    assert all_of(parts) == joined


def test_brackets_around_all_of_a_choice_are_enough() -> None:
    assert all_of(["(MIT OR ISC)", "Zlib"]) == "(MIT OR ISC) AND Zlib"
    assert all_of(["(MIT) OR (ISC)", "Zlib"]) == "((MIT) OR (ISC)) AND Zlib"
