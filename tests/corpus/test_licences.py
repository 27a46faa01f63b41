"""Licences: texts, headers, and which file of a repository is under which."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

from megatron_snow.corpus.licences import (
    LicenceMap,
    from_header,
    from_text,
    is_licence_file,
    kind_of,
    licence_map,
    texts,
)
from megatron_snow.corpus.licences.words import words_of

COMMON = Path("/usr/share/common-licenses")

MIT = """Copyright (c) 2020 A. Author

Permission is hereby granted, free of charge, to any
person obtaining a copy of this software, to deal in the Software without restriction.
The above copyright notice and this permission notice shall be included in all copies of the Software."""
BSD_2 = "Redistribution and use in source and binary forms, with or without modification, are permitted."
BSD_3 = BSD_2 + "\n * Neither the name of the Company nor the names of its contributors may be used to endorse products."
BSD_4 = BSD_3 + "\nAll advertising materials mentioning features or use of this software must display an acknowledgement."
ISC = """Permission to use, copy, modify, and/or distribute this software for any purpose
with or without fee is hereby granted, provided that the above copyright notice appears in all copies."""
GPL_NOTICE = """ * This program is free software; you can redistribute it and/or modify
 * it under the terms of the GNU General Public License as published by
 * the Free Software Foundation; either version 2 of the License, or
 * (at your option) any later version."""
APACHE = 'Licensed under the Apache License, Version 2.0 (the "License");\n# you may not use this file except in compliance'


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (MIT, "MIT"),
        (MIT.partition("The above")[0], "MIT-0"),
        (MIT + "\nExcept as contained in this notice, the name of the X Consortium shall not be used", "X11"),
        (MIT.replace("person obtaining", "person or organization obtaining"), ""),  # Boost's has its name as well
        (BSD_2, "BSD-2-Clause"),
        (BSD_3, "BSD-3-Clause"),
        (BSD_4, "BSD-4-Clause"),
        (ISC, "ISC"),
        (ISC.partition(", provided")[0], "0BSD"),
        (GPL_NOTICE, "GPL-2.0-or-later"),
        (GPL_NOTICE.partition(", or")[0] + ".", "GPL-2.0-only"),
        (GPL_NOTICE.replace("General", "Lesser General").replace("version 2", "version 2.1"), "LGPL-2.1-or-later"),
        ("This is free software under the GNU General Public License.", "GPL-1.0-or-later"),
        ("The licence is in /usr/share/common-licenses/LGPL-2.1", "LGPL-2.1-only"),
        (f"{BSD_3}\n\n--- vendored ---\n\n{MIT}", "BSD-3-Clause AND MIT"),
        (f"{MIT}\n\n--- vendored ---\n\n{BSD_3}", "MIT AND BSD-3-Clause"),
        ("Dual licensed under the MIT and GPL licenses.", "MIT OR GPL-1.0-or-later"),
        ("Licensed under MIT or GPLv3, see LICENSE", "MIT OR GPL-3.0-only"),
        ("Attribution-NonCommercial-ShareAlike 4.0 International", "CC-BY-NC-SA-4.0"),
        ("All rights reserved. Do not copy.", ""),
    ],
)
def test_text(text: str, licence: str) -> None:
    assert from_text(text) == licence


@pytest.mark.skipif(not COMMON.is_dir(), reason="not a Debian system: no /usr/share/common-licenses")
@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("Apache-2.0", "Apache-2.0"),
        ("Artistic", "Artistic-1.0-Perl"),
        ("BSD", "BSD-3-Clause"),
        ("CC0-1.0", "CC0-1.0"),
        ("GFDL-1.3", "GFDL-1.3-or-later"),
        ("GPL-1", "GPL-1.0-or-later"),
        ("GPL-2", "GPL-2.0-or-later"),
        ("GPL-3", "GPL-3.0-or-later"),  # it speaks of the Affero licence as well
        ("LGPL-2", "LGPL-2.0-or-later"),
        ("LGPL-2.1", "LGPL-2.1-or-later"),
        ("LGPL-3", "LGPL-3.0-or-later"),
        ("MPL-1.1", "MPL-1.1"),
        ("MPL-2.0", "MPL-2.0"),  # it speaks of three GNU licences as well
    ],
)
def test_whole_texts(name: str, licence: str) -> None:
    if not (COMMON / name).is_file():
        pytest.skip(f"{name} is not there")
    assert from_text((COMMON / name).read_text()) == licence


def test_installed_distributions_have_the_licence_that_they_declare() -> None:
    """Those that declare one SPDX identifier and ship one licence file."""
    checked, differing = 0, []
    for distribution in importlib.metadata.distributions():
        declared = distribution.metadata.get("License-Expression") or ""
        files = [file for file in distribution.files or () if ".dist-info" in str(file) and is_licence_file(str(file))]
        if declared and " " not in declared and len(files) == 1:
            checked += 1
            found = licence_map({"LICENSE": files[0].read_text()}, declared).licence_of("a.py", "")
            if declared not in found.split(" AND "):
                differing.append((distribution.metadata["Name"], declared, found))
    assert checked >= 10
    assert len(differing) <= checked / 20, differing


@pytest.mark.parametrize(
    ("head", "licence"),
    [
        ("/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */", "GPL-2.0-only WITH Linux-syscall-note"),
        ("// SPDX-License-Identifier: (MIT OR Apache-2.0)\n", "(MIT OR Apache-2.0)"),
        ("<!-- SPDX-License-Identifier: MIT -->", "MIT"),
        ("# SPDX-License-Identifier: LicenseRef-Own\n", "LicenseRef-Own"),
        ("# (SPDX-License-Identifier: MIT OR CC0-1.0)", "MIT OR CC0-1.0"),
        ("// SPDX-License-Identifier: ( GPL-3.0-or-later OR LicenseRef-Own ) AND MIT", "(GPL-3.0-or-later OR LicenseRef-Own) AND MIT"),
        ("// SPDX-License-Identifier: GPL-3.0-or-later OR LicenseRef-Own ) AND MIT", "GPL-3.0-or-later OR LicenseRef-Own"),
        ("// SPDX-License-Identifier: (MIT OR ISC", ""),
        (f"// SPDX-License-Identifier: {{licence}}\n{GPL_NOTICE}", "GPL-2.0-or-later"),  # a template's: the words count
        ("# SPDX-License-Identifier: MIT.", "MIT"),
        ("# SPDX-License-Identifier: MIT AND\n", "MIT"),
        ("# spdx-license-identifier: MIT\r\n", "MIT"),
        ("# SPDX-License-Identifier: MIT OR ISC\n# SPDX-License-Identifier: GPL-2.0-only\n", "(MIT OR ISC) AND GPL-2.0-only"),
        (f"/*\n{GPL_NOTICE}\n */\nint x;", "GPL-2.0-or-later"),
        (f"# {APACHE}\n", "Apache-2.0"),
        ("// Use of this source code is governed by a BSD-style\n// license that can be found in the LICENSE file.", "BSD-3-Clause"),
        ("// SPDX-License-Identifier: MIT\n/* taken from a file under the GNU General Public License v2 */", "MIT"),
        ("# This file is placed in the public domain.", "public-domain"),
        ("import permissions\nlicense = parse(text)\n", ""),
        ("x = 1\n", ""),
    ],
)
def test_header(head: str, licence: str) -> None:
    assert from_header(head) == licence


def test_real_headers_of_installed_packages() -> None:
    import numpy as np
    import pyarrow as pa

    arrow = next(Path(pa.get_include()).glob("arrow/api.h")).read_text()
    assert from_header(arrow) == "Apache-2.0"
    assert from_header((Path(np.__file__).parent / "__init__.py").read_text()) == ""


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("LICENSE", True),
        ("a/LICENCE.txt", True),
        ("LICENSE-MIT", True),
        ("COPYING.LESSER", True),
        ("license.md", True),
        ("UNLICENSE", True),
        ("MIT-LICENSE.txt", True),
        ("debian/copyright", True),
        ("doc/license.html", True),
        ("license.py", False),
        ("src/copyright.go", False),
        ("licenses.json", False),
        ("licensed.txt", False),
        ("README", False),
    ],
)
def test_names_of_licence_files(path: str, is_one: bool) -> None:
    assert is_licence_file(path) is is_one


def test_a_header_then_the_nearest_file_then_what_is_declared() -> None:
    files = {"LICENSE": MIT, "vendor/zip/COPYING": GPL_NOTICE, "vendor/own/LICENSE": "Ask us first. " * 50}
    licences = licence_map(files, "Apache-2.0")
    assert licences.licence_of("src/a.c", "int x;") == "MIT"
    assert licences.licence_of("vendor/zip/deep/er/a.c", "") == "GPL-2.0-or-later"
    assert licences.licence_of("vendor/zip/a.c", "/* SPDX-License-Identifier: ISC */") == "ISC"
    assert licences.licence_of("vendor/zipper/a.c", "") == "MIT"  # another folder that begins alike
    assert kind_of(licences.licence_of("vendor/own/a.c", "")) == "unknown"
    assert licence_map({}, "Apache-2.0").licence_of("a.c", "") == "Apache-2.0"
    assert LicenceMap().licence_of("a.c", "") == ""


def test_a_header_beyond_the_first_bytes_is_not_one() -> None:
    licences = LicenceMap()
    tag = "# SPDX-License-Identifier: MIT"
    assert licences.licence_of("a.py", "#" * (4096 - len(tag)) + tag) == "MIT"
    assert licences.licence_of("a.py", "#" * 4096 + tag) == ""


def test_a_declaration_that_speaks_of_the_same_licences_is_more_exact() -> None:
    both = {"LICENSE-MIT": MIT, "LICENSE-APACHE": APACHE}
    assert licence_map(both, "MIT OR Apache-2.0").licence_of("a.rs", "") == "MIT OR Apache-2.0"
    assert licence_map(both, "").licence_of("a.rs", "") == "Apache-2.0 AND MIT"
    assert licence_map({"COPYING": GPL_NOTICE}, "GPL-2.0-only").licence_of("a.c", "") == "GPL-2.0-only"
    assert licence_map({"COPYING": GPL_NOTICE}, "MIT").licence_of("a.c", "") == "GPL-2.0-or-later"


def test_files_of_one_folder() -> None:
    lesser = GPL_NOTICE.replace("General", "Lesser General").replace("version 2", "version 3")
    assert licence_map({"COPYING": GPL_NOTICE, "COPYING.LESSER": lesser}).licence_of("a.c", "") == "LGPL-3.0-or-later"
    pointer = {"LICENSE": "Either of the licences in LICENSE.MIT or LICENSE.BSD.", "LICENSE.MIT": MIT, "LICENSE.BSD": BSD_2}
    assert licence_map(pointer).licence_of("a.py", "") == "BSD-2-Clause AND MIT"
    own = {"LICENSE": "You may look at this and do nothing else with it. " * 20, "LICENSE.MIT": MIT}
    assert kind_of(licence_map(own).licence_of("a.py", "")) == "unknown"


def test_a_choice_in_one_file_of_a_folder_is_in_brackets() -> None:
    both = {"COPYING": "Licensed under MIT or GPLv3, see below", "LICENSE": GPL_NOTICE}
    licence = licence_map(both).licence_of("a.c", "")
    assert licence == "(MIT OR GPL-3.0-only) AND GPL-2.0-or-later"
    assert kind_of(licence) == "copyleft"


def test_a_path_from_the_root_ends() -> None:
    assert licence_map({}, "ISC").licence_of("/elsewhere/a.py", "") == "ISC"


def test_a_search_that_re2_gave_up_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class GivesUp:
        def Match(self, words: str) -> None:
            return None

    monkeypatch.setattr(texts, "_set_of_texts", GivesUp)
    assert from_text("Mozilla Public License, v. 2.0") == "MPL-2.0"


@pytest.mark.parametrize("text", ["", "\n", "a", "# A-B+ c\t\x0b\x1c_d", "Éa\u212aß İ9 \ud800x", "1.\u00a02\u3000z+"])
def test_words_are_those_of_the_regular_expression(text: str) -> None:
    assert words_of(text) == f" {re.sub('[^a-z0-9+]+', ' ', text.lower()).strip()} "
