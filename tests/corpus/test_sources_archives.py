"""Archives of every kind, on packages made like real ones and on real ones."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.config import Source
from megatron_snow.corpus.sources import Limits, archives, list_parts, read_part
from megatron_snow.corpus.sources.containers import entries_of
from tests.corpus.archives import LIMITS, deb_of, files_of, tar_bytes, tar_of, zstd

CACHE = Path.home() / ".cache" / "megatron_snow" / "repositories" / "archives"
MIT = (
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this software, subject to: "
    "The above copyright notice and this permission notice shall be included in all copies."
)


def test_sdist_is_a_repository_with_its_name_licence_version_and_date(tmp_path: Path) -> None:
    metadata = b"Metadata-Version: 2.4\nName: The_Thing\nVersion: 1.0\nLicense-Expression: MIT\n"
    members = {"thing-1.0/thing/a.py": b"x = 1\n", "thing-1.0/PKG-INFO": metadata}
    tar_of(tmp_path / "thing-1.0.tar.gz", members, mtime=1_600_000_000)
    (raw,) = [raw for raw in files_of(tmp_path / "*.tar.gz") if raw.path.endswith(".py")]
    assert (raw.repository, raw.path, raw.data, raw.revision) == ("python:the-thing", "thing/a.py", b"x = 1\n", "1.0")
    assert raw.licences.licence_of(raw.path, "") == "MIT"
    assert raw.date == "2020-09-13T12:26:40+00:00"


def test_a_glob_names_files_and_not_their_folders(tmp_path: Path) -> None:
    (tmp_path / "pypi").mkdir()
    tar_of(tmp_path / "pypi" / "p-1.tar.gz", {"p-1/a.py": b"x = 1\n"})
    assert [raw.path for raw in files_of(tmp_path / "**" / "*")] == ["a.py"]
    with pytest.raises(UserError, match=r"pypi: no such file; of a folder's files give a glob"):
        list(list_parts([Source("archive", str(tmp_path / "pypi"))]))


@pytest.mark.parametrize(
    ("mtime", "date"),
    [
        (631_151_999, ""),  # before 1990
        (631_152_000, "1990-01-01T00:00:00+00:00"),
        (-5, ""),
        (1_153_704_088, ""),  # maturin's for every release
        (1_667_997_441, ""),  # scikit-build-core's
        (1_580_601_600, ""),  # hatchling's
        (1_580_601_601, "2020-02-02T00:00:01+00:00"),
    ],
)
def test_a_date_that_is_none_is_not_taken_for_one(tmp_path: Path, mtime: int, date: str) -> None:
    (raw,) = files_of(tar_of(tmp_path / "p-1.tar.gz", {"p-1/a.py": b"x = 1\n"}, mtime=mtime))
    assert (raw.data, raw.date) == (b"x = 1\n", date)


def test_date_is_of_the_metadata_else_of_the_latest_file(tmp_path: Path) -> None:
    for name, mtime in (("dated", 1_600_000_000), ("undated", 0)):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            for member, when in (("p/a.py", 1_500_000_000), ("p/b.py", 1_700_000_000), ("p/PKG-INFO", mtime)):
                info = tarfile.TarInfo(member)
                info.size, info.mtime = 8, when
                tar.addfile(info, io.BytesIO(b"Name: p\n"))
        dates = {raw.date[:10] for raw in files_of(tmp_path / f"{name}.tar")}
        assert dates == {"2020-09-13" if name == "dated" else "2023-11-14"}


def test_npm_package_is_named_by_its_json(tmp_path: Path) -> None:
    values = {"name": "@scope/thing", "version": "2.0.0", "license": {"type": "ISC"}}
    tar_of(tmp_path / "scope-thing-2.0.0.tgz", {"package/a.js": b"let x = 1;\n", "package/package.json": json.dumps(values).encode()})
    by_path = {raw.path: raw for raw in files_of(tmp_path / "*.tgz")}
    assert set(by_path) == {"a.js", "package.json"}
    assert {(raw.repository, raw.revision, raw.date) for raw in by_path.values()} == {("npm:@scope/thing", "2.0.0", "")}
    assert by_path["a.js"].licences.licence_of("a.js", "") == "ISC"


@pytest.mark.parametrize("text", [b"{", b"[1]", b'{"name": 3, "license": [7]}', b"\xff\xfe", b"[" * 100_000])
def test_package_json_of_any_content_does_no_harm(tmp_path: Path, text: bytes) -> None:
    tar_of(tmp_path / "odd-1.tgz", {"package/package.json": text, "package/a.js": b"let x = 1;\n"})
    assert {raw.repository for raw in files_of(tmp_path / "odd-1.tgz")} == {"odd-1"}


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("xz", lzma.compress), ("bz2", bz2.compress), ("zst", zstd)])
def test_deb_is_read_whatever_its_compression(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    copyright = b"Format: x\n\nFiles: *\nLicense: GPL-2+\n"
    data = tar_bytes({"./usr/share/x/run.sh": b"#!/bin/sh\necho\n", "./usr/share/doc/bats/copyright": copyright})
    path = deb_of(tmp_path / "bats_1.8-1_all.deb", b"Package: bats\nVersion: 1.8-1\n", data, ending, pack)
    (raw,) = [raw for raw in files_of(path) if raw.path.endswith(".sh")]
    assert (raw.repository, raw.path, raw.revision) == ("debian:bats", "usr/share/x/run.sh", "1.8-1")
    assert raw.licences.licence_of(raw.path, "") == "GPL-2.0-or-later"


def test_crate_and_archives_of_git(tmp_path: Path) -> None:
    cargo = b'[package]\nname = "serde"\nversion = "1.0.1"\nlicense = "MIT OR Apache-2.0"\n'
    tar_of(tmp_path / "serde-1.0.1.crate", {"serde-1.0.1/src/lib.rs": b"fn f() {}\n", "serde-1.0.1/Cargo.toml": cargo})
    raw = next(raw for raw in files_of(tmp_path / "serde-1.0.1.crate") if raw.path == "src/lib.rs")
    assert (raw.repository, raw.revision, raw.licences.declared) == ("crate:serde", "1.0.1", "MIT OR Apache-2.0")
    commit = "0123456789abcdef0123456789abcdef01234567"
    with tarfile.open(tmp_path / "x-main.tar", "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": commit}) as tar:
        tar.add(__file__, "x-main/a.py")
    (raw,) = files_of(tmp_path / "x-main.tar", Limits(1_000_000))
    assert (raw.repository, raw.path, raw.revision, raw.data) == ("x-main", "a.py", commit, Path(__file__).read_bytes())


def test_wheel_and_zip_are_read_in_place(tmp_path: Path) -> None:
    for name in ("w-1-py3-none-any.whl", "z.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("pkg/a.py", "x = 1\n")
            archive.writestr("w-1.dist-info/METADATA", "Name: w\nVersion: 1\nLicense: Apache 2.0\n")
    before = sorted(tmp_path.iterdir())
    files = files_of(tmp_path / "*.*")
    assert [(raw.path, raw.repository) for raw in files] == [("pkg/a.py", "python:w")] * 2
    assert files[0].licences.declared == "Apache-2.0"
    assert sorted(tmp_path.iterdir()) == before


def test_licences_hold_for_their_folders(tmp_path: Path) -> None:
    members = {
        "p/LICENSE": b"Apache License, Version 2.0",
        "p/vendor/z/a.py": b"x = 1\n",
        "p/b.py": b"x = 2\n",
        "p/vendor/z/LICENSE": MIT.encode(),
    }
    files = {raw.path: raw for raw in files_of(tar_of(tmp_path / "p.tar.gz", members)) if raw.path.endswith(".py")}
    found = {path: raw.licences.licence_of(path, "") for path, raw in files.items()}
    assert found == {"vendor/z/a.py": "MIT", "b.py": "Apache-2.0"}


@pytest.mark.parametrize(("room", "readings"), [(300_000, 1), (150_000, 1), (20_000, 2)])  # held as it is, half compressed, not held
def test_large_archive_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, readings: int) -> None:
    members = {f"p/{number}.py": b"x = 1\n" * 500 * (number % 10 > 0) for number in range(50)} | {
        "p/PKG-INFO": b"Name: p\nVersion: 3\n",
        "p/LICENSE": MIT.encode(),
    }
    path = tar_of(tmp_path / "p-3.tar.gz", members)
    held = files_of(path)
    opened: list[str] = []
    monkeypatch.setattr(archives, "HELD_BYTES", room)
    monkeypatch.setattr(archives, "entries_of", lambda path: opened.append(path) or entries_of(path))
    assert files_of(path) == held
    assert opened == [str(path)] * readings
    assert {(raw.repository, raw.licences.licence_of(raw.path, "")) for raw in held} == {("python:p", "MIT")}


def test_name_that_the_user_gives_wins(tmp_path: Path) -> None:
    tar_of(tmp_path / "p-1.tar.gz", {"p/PKG-INFO": b"Name: p\n", "p/a.py": b"x = 1\n"})
    parts = list_parts([Source("archive", str(tmp_path / "*.gz"), "mine")])
    assert {raw.repository for part in parts for raw in read_part(part, LIMITS)} == {"mine"}


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_and_sizes_as_the_standard_library_reads_them(tmp_path: Path, style: int) -> None:
    names = [
        "a.py",
        f"{'d' * 90}/{'e' * 60}.py",
        "ü/ß.py",
        *([f"{'f/' * 200}g.py", f"{'h' * 300}.py"] if style != tarfile.USTAR_FORMAT else []),
    ]
    with tarfile.open(tmp_path / "t.tar", "w", format=style) as tar:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = 500 + 12 * number  # 512 among them
            tar.addfile(info, io.BytesIO(os.urandom(info.size)))
    with tarfile.open(tmp_path / "t.tar") as tar:
        expected = [(member.name, member.size, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    assert [(entry.name, entry.size, entry.read()) for entry in entries_of(str(tmp_path / "t.tar"))] == expected


def test_sparse_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with open(tmp_path / "in" / "sparse.py", "wb") as file:
        for number in range(40):
            file.seek(number * 200_000)
            file.write(b"x = 1\n" * 1000)
    (tmp_path / "in" / "z.py").write_text("x = 1\n")
    for style in ("gnu", "posix"):
        path = tmp_path / f"{style}.tar"
        if os.system(f"tar -C {tmp_path} --sparse --format={style} -cf {path} in") != 0:
            pytest.skip("no GNU tar here")
        assert {raw.path: raw.dropped for raw in files_of(path) if raw.path.endswith("z.py")} == {"z.py": ""}


@pytest.mark.parametrize("folder", ["npm", "pypi", "debian"])
def test_real_packages_are_named_and_licensed(folder: str) -> None:
    paths = sorted((CACHE / folder).glob("*"), key=lambda path: path.stat().st_size)[:5] if (CACHE / folder).is_dir() else []
    if not paths:
        pytest.skip("benchmarks/fetch_repositories.py has fetched nothing here")
    prefix = {"npm": "npm:", "pypi": "python:", "debian": "debian:"}[folder]
    for path in paths:
        files = files_of(path)
        assert files
        assert all(raw.repository.startswith(prefix) and raw.revision for raw in files)
        assert all(raw.licences.declared or raw.licences.folders for raw in files)
