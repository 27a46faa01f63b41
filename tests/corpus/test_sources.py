"""Folders, what is installed, and the names of repositories; archives, tables and git have tests of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.config import Source
from megatron_snow.corpus.sources import Limits, RawFile, list_parts, read_part

LIMITS = Limits(max_file_bytes=100_000)


def files_of(*sources: Source, limits: Limits = LIMITS) -> list[RawFile]:
    return [raw for part in list_parts(sources) for raw in read_part(part, limits)]


def test_folder_is_one_repository_a_sub_folder(checkouts: Path) -> None:
    files = files_of(Source("folder", str(checkouts)))
    assert {"json", "email", "numpy-headers"} <= {raw.repository for raw in files}
    decoder = next(raw for raw in files if (raw.repository, raw.path) == ("json", "decoder.py"))
    assert decoder.data == (checkouts / "json" / "decoder.py").read_bytes()
    assert decoder.licences.licence_of(decoder.path, "") == "PSF-2.0"


def test_folder_with_a_name_is_that_repository(checkouts: Path) -> None:
    files = files_of(Source("folder", str(checkouts / "json"), "mine"))
    assert {raw.repository for raw in files} == {"mine"}
    assert "decoder.py" in {raw.path for raw in files}


def test_folder_leaves_out_caches_links_and_version_control(tmp_path: Path) -> None:
    for name in ("a/.git/hook.py", "a/__pycache__/x.py", "a/a.egg-info/x.py", "a/node_modules/x.js", "a/kept.py", "b/kept.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    os.symlink(tmp_path / "a" / "kept.py", tmp_path / "a" / "link.py")
    assert sorted((raw.repository, raw.path) for raw in files_of(Source("folder", str(tmp_path)))) == [("a", "kept.py"), ("b", "kept.py")]


def test_folder_without_sub_folders_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    with pytest.raises(UserError, match="repository: NAME"):
        files_of(Source("folder", str(tmp_path)))


def test_script_is_read_by_its_shebang_and_a_large_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("#!/bin/sh\necho\n")
    (tmp_path / "notes").write_text("just words\n")
    (tmp_path / "big.py").write_text("x = 1\n" * 20_000)
    found = {raw.path: (raw.dropped, raw.data) for raw in files_of(Source("folder", str(tmp_path), "r"))}
    assert found == {"run": ("", b"#!/bin/sh\necho\n"), "notes": ("unknown_language", b""), "big.py": ("too_large", b"")}


def test_full_language_is_not_read(checkouts: Path) -> None:
    files = files_of(Source("folder", str(checkouts)), limits=Limits(1_000_000, frozenset(["Python"])))
    assert {raw.dropped for raw in files if raw.path.endswith(".py")} == {"language_share"}
    assert all(raw.data for raw in files if raw.path.endswith(".h"))


def test_file_that_two_sources_list_is_taken_once(checkouts: Path) -> None:
    once = files_of(Source("folder", str(checkouts)))
    twice = files_of(Source("folder", str(checkouts)), Source("folder", str(checkouts / "json"), "again"))
    assert sorted(raw.provenance for raw in once) == sorted(raw.provenance for raw in twice)


def test_installed_python_gives_the_library_and_distributions_but_not_this_one() -> None:
    parts = list(list_parts([Source("python")]))
    by_name = {part.repository: part for part in parts}
    assert by_name["python:stdlib"].licence == "PSF-2.0"
    assert by_name["python:pytest"].licence == "MIT"
    assert "python:megatron-snow" not in by_name
    paths = {member.path for part in parts if part.repository == "python:stdlib" for member in part.members}
    assert "json/decoder.py" in paths
    assert not any("__pycache__" in path or "site-packages" in path for path in paths)


@pytest.mark.skipif(not Path("/var/lib/dpkg/info").is_dir(), reason="no dpkg here")
def test_debian_packages_are_repositories() -> None:
    parts = list(list_parts([Source("debian")]))
    assert parts
    assert all(part.repository.startswith("debian:") and ":" not in part.repository[7:] for part in parts)
    assert any(part.licence for part in parts)


def test_missing_source_is_named() -> None:
    for kind in ("archive", "jsonl", "parquet", "folder"):
        with pytest.raises(UserError, match=r"nowhere.*no such"):
            files_of(Source(kind, "nowhere"))  # type: ignore[arg-type]
