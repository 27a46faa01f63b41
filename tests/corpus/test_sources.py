"""Folders, what is installed, and the names of repositories; archives, tables and git have tests of their own."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.config import Source
from megatron_snow.corpus.sources import Limits, RawFile, list_parts, read_part

LIMITS = Limits(max_file_bytes=100_000)
MIT = (
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this software, subject to: "
    "The above copyright notice and this permission notice shall be included in all copies."
)


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


def named(source_paths: list[Path], kind: str = "folder") -> list[tuple[str, bytes | str]]:
    sources = [Source(kind, str(path)) for path in source_paths]  # type: ignore[arg-type]
    return [(raw.repository, raw.data) for raw in files_of(*sources)]


def test_two_folders_of_one_name_are_told_apart_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, root in enumerate(("one", "two", "three")):
        (tmp_path / root / "json").mkdir(parents=True)
        (tmp_path / root / "json" / "a.py").write_text(f"x = {number}\n")
    found = named([tmp_path / "one", tmp_path / "two", tmp_path / "three"])
    assert found == [("json", b"x = 0\n"), ("json#2", b"x = 1\n"), ("json#3", b"x = 2\n")]
    assert f"two repositories are called json ({tmp_path}/one/json and {tmp_path}/two/json)" in capsys.readouterr().err


def test_folders_that_the_user_calls_the_same_are_one_repository(tmp_path: Path) -> None:
    for root in ("one", "two"):
        (tmp_path / root).mkdir()
        (tmp_path / root / "a.py").write_text("x = 1\n")
    sources = [Source("folder", str(tmp_path / root), "mine") for root in ("one", "two")]
    assert [raw.repository for raw in files_of(*sources)] == ["mine", "mine"]


def test_a_large_repository_in_several_parts_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("megatron_snow.corpus.sources.parts.PART_BYTES", 10)
    (tmp_path / "json").mkdir()
    for number in range(5):
        (tmp_path / "json" / f"{number}.py").write_text("x = 1\n")
    assert [name for name, _ in named([tmp_path])] == ["json"] * 5


def test_two_versions_of_a_package_are_told_apart(tmp_path: Path) -> None:
    for version in ("1.0", "2.0"):
        with zipfile.ZipFile(tmp_path / f"w-{version}-py3-none-any.whl", "w") as archive:
            archive.writestr("w/a.py", f"x = {version}\n")
            archive.writestr(f"w-{version}.dist-info/METADATA", f"Name: w\nVersion: {version}\n")
    assert named([tmp_path / "*.whl"], "archive") == [("python:w", b"x = 1.0\n"), ("python:w#2", b"x = 2.0\n")]


def test_archives_of_like_file_names_but_other_packages_are_not_told_apart(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "a.py").write_text("x = 0\n")
    for name, package in (("w-1.0.zip", "first"), ("w-2.0.zip", "second"), ("w-3.0.zip", "first")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("w/a.py", "x = 1\n")
            archive.writestr("w-1.dist-info/METADATA", f"Name: {package}\n")
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:  # no metadata: it is called as the folder is
        archive.writestr("w/a.py", "x = 1\n")
    (tmp_path / "w-4.0.zip").write_bytes(b"PK damaged")  # no reason to fail before it is read
    sources = [Source("folder", str(tmp_path)), Source("archive", str(tmp_path / "*.zip"))]
    parts = [part for part in list_parts(sources) if not part.path.endswith("4.0.zip")]
    names = [raw.repository for part in parts for raw in read_part(part, LIMITS)]
    assert names == ["w", "python:first", "python:second", "python:first#2", "w#2"]


def test_names_that_are_not_utf8_are_counted(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "r") + b"\xff"
    os.mkdir(folder)
    for name in (b"a\xff.py", b"b.py"):
        with open(folder + b"/" + name, "wb") as file:
            file.write(b"x = 1\n")
    found = {(raw.repository, raw.path): raw.dropped for raw in files_of(Source("folder", os.fsdecode(folder), "r"))}
    assert found == {("r", "a?.py"): "name_encoding", ("r", "b.py"): ""}
    assert all(raw.provenance.isprintable() and raw.provenance.encode() for raw in files_of(Source("folder", os.fsdecode(folder), "r")))


def test_file_that_grows_or_becomes_a_link_after_it_was_listed(tmp_path: Path) -> None:
    for name in ("grows.py", "link.py"):
        (tmp_path / name).write_text("x = 1\n")
    (part,) = list_parts([Source("folder", str(tmp_path), "r")])
    (tmp_path / "grows.py").write_text("x = 1\n" * 1000)
    (tmp_path / "link.py").unlink()
    os.symlink("/etc/passwd", tmp_path / "link.py")
    found = {raw.path: (raw.dropped, len(raw.data)) for raw in read_part(part, LIMITS)}
    assert found["link.py"] == ("unreadable", 0)
    assert found["grows.py"][1] <= 8


def test_licences_of_a_checkout_hold_for_their_folders(tmp_path: Path) -> None:
    for name, text in (
        ("LICENSE", "Apache License, Version 2.0"),
        ("vendor/LICENSE", MIT),
        ("vendor/z/a.py", "x = 1\n"),
        ("b.py", "x = 2\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    files = {
        raw.path: raw.licences.licence_of(raw.path, "")
        for raw in files_of(Source("folder", str(tmp_path), "r"))
        if raw.path.endswith(".py")
    }
    assert files == {"vendor/z/a.py": "MIT", "b.py": "Apache-2.0"}
