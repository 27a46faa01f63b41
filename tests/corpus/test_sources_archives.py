"""Archives of every kind, on packages made like real ones and on archives that mean harm."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.config import Source
from megatron_snow.corpus.sources import Limits, RawFile, archives, containers, list_parts, read_part
from megatron_snow.corpus.sources.containers import entries_of
from megatron_snow.corpus.sources.tar import Damaged, Stream

LIMITS = Limits(max_file_bytes=100_000)
CACHE = Path.home() / ".cache" / "megatron_snow" / "repositories" / "archives"
MIT = (
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this software, subject to: "
    "The above copyright notice and this permission notice shall be included in all copies."
)


def files_of(path: Path | str, limits: Limits = LIMITS) -> list[RawFile]:
    return [raw for part in list_parts([Source("archive", str(path))]) for raw in read_part(part, limits)]


def tar_bytes(members: Mapping[str, bytes], extra: tuple[tarfile.TarInfo, ...] = (), mtime: int = 0) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime
            tar.addfile(info, io.BytesIO(data))
        for info in extra:
            tar.addfile(info)
    return buffer.getvalue()


def tar_of(path: Path, members: Mapping[str, bytes], extra: tuple[tarfile.TarInfo, ...] = (), mtime: int = 0) -> Path:
    path.write_bytes(gzip.compress(tar_bytes(members, extra, mtime)))
    return path


def zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


def deb_of(path: Path, control: bytes, data: bytes, ending: str = "gz", pack: Callable[[bytes], bytes] = gzip.compress) -> Path:
    """As dpkg-deb writes it: an ar archive of debian-binary, control.tar and data.tar."""
    parts = {"debian-binary": b"2.0\n", f"control.tar.{ending}": pack(tar_bytes({"./control": control})), f"data.tar.{ending}": pack(data)}
    out = b"!<arch>\n"
    for name, content in parts.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content + b"\n" * (len(content) % 2)
    path.write_bytes(out)
    return path


def test_sdist_is_a_repository_with_its_name_licence_version_and_date(tmp_path: Path) -> None:
    metadata = b"Metadata-Version: 2.4\nName: The_Thing\nVersion: 1.0\nLicense-Expression: MIT\n"
    members = {"thing-1.0/thing/a.py": b"x = 1\n", "thing-1.0/PKG-INFO": metadata}
    tar_of(tmp_path / "thing-1.0.tar.gz", members, mtime=1_600_000_000)
    (raw,) = [raw for raw in files_of(tmp_path / "*.tar.gz") if raw.path.endswith(".py")]
    assert (raw.repository, raw.path, raw.data, raw.revision) == ("python:the-thing", "thing/a.py", b"x = 1\n", "1.0")
    assert raw.licences.licence_of(raw.path, "") == "MIT"
    assert raw.date == "2020-09-13T12:26:40+00:00"


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


def test_large_archive_gives_the_same_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {f"p/{number}.py": b"x = 1\n" * 500 for number in range(50)} | {
        "p/PKG-INFO": b"Name: p\nVersion: 3\n",
        "p/LICENSE": MIT.encode(),
    }
    path = tar_of(tmp_path / "p-3.tar.gz", members)
    held = files_of(path)
    monkeypatch.setattr(archives, "HELD_BYTES", 20_000)
    assert files_of(path) == held
    assert {(raw.repository, raw.licences.licence_of(raw.path, "")) for raw in held} == {("python:p", "MIT")}


def test_name_that_the_user_gives_wins(tmp_path: Path) -> None:
    tar_of(tmp_path / "p-1.tar.gz", {"p/PKG-INFO": b"Name: p\n", "p/a.py": b"x = 1\n"})
    parts = list_parts([Source("archive", str(tmp_path / "*.gz"), "mine")])
    assert {raw.repository for part in parts for raw in read_part(part, LIMITS)} == {"mine"}


def test_archive_that_means_harm_gives_counted_drops(tmp_path: Path) -> None:
    link, device = tarfile.TarInfo("top/link.py"), tarfile.TarInfo("top/device.py")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 3
    members = {"top/../../up.py": b"x", "/abs.py": b"x", "top/big.py": b"x" * 200_000, "top/ok.py": b"x = 1\n", "top/\udcff.py": b"x"}
    (tmp_path / "in").mkdir()
    tar_of(tmp_path / "in" / "evil.tar.gz", members, (link, device))
    before = sorted(tmp_path.rglob("*"))
    dropped = {raw.provenance.partition("!")[2]: raw.dropped for raw in files_of(tmp_path / "in" / "evil.tar.gz")}
    assert dropped == {
        "top/../../up.py": "unsafe_path", "/abs.py": "unsafe_path", "top/big.py": "too_large", "top/ok.py": "", "top/?.py": "name_encoding",
        "top/link.py": "link_or_device", "top/device.py": "link_or_device",
    }  # fmt: skip
    assert sorted(tmp_path.rglob("*")) == before


def test_zip_that_means_harm_gives_counted_drops(tmp_path: Path) -> None:
    path = tmp_path / "evil.zip"
    link = zipfile.ZipInfo("link.py")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../up.py", "x")
        archive.writestr("/abs.py", "x")
        archive.writestr("bomb.py", b"x" * 20_000_000)
        archive.writestr(link, "/etc/passwd")
    dropped = {raw.provenance.partition("!")[2]: (raw.dropped, raw.data) for raw in files_of(path)}
    expected = {"../up.py": "unsafe_path", "/abs.py": "unsafe_path", "bomb.py": "too_large", "link.py": "link_or_device"}
    assert dropped == {name: (rule, b"") for name, rule in expected.items()}


@pytest.mark.parametrize("declared", [1000, 2_000_000])
def test_zip_that_lies_about_a_size_is_damaged(tmp_path: Path, declared: int) -> None:
    path = tmp_path / "liar.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.py", b"x" * 1_000_000)
    path.write_bytes(path.read_bytes().replace((1_000_000).to_bytes(4, "little"), declared.to_bytes(4, "little")))
    with pytest.raises(UserError, match=r"liar\.zip: damaged archive"):
        files_of(path, Limits(3_000_000))


def test_archive_that_expands_without_end_is_refused_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "_EXPANDS_ALWAYS", 10_000_000)
    info = tarfile.TarInfo("top/zeros.bin")
    info.size = 200_000_000
    with gzip.open(tmp_path / "bomb.tar.gz", "wb") as file:
        file.write(info.tobuf())
        for _ in range(200):
            file.write(bytes(1_000_000))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"bomb\.tar\.gz: damaged archive \(it expands to more than"):
        files_of(tmp_path / "bomb.tar.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_zip_of_many_bombs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "_EXPANDS_ALWAYS", 1_000_000)
    with zipfile.ZipFile(tmp_path / "many.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(60):
            archive.writestr(f"{number}.py", b"x" * 90_000)
    with pytest.raises(UserError, match=r"many\.zip: damaged archive \(it expands to more than"):
        files_of(tmp_path / "many.zip")


def test_pax_header_of_any_declared_size_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    (tmp_path / "pax.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
    with pytest.raises(UserError, match=r"a header of 1,099,511,627,776 bytes"):
        files_of(tmp_path / "pax.tar")


def test_xz_that_asks_for_a_large_dictionary_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "_XZ_MEMORY", 30_000_000)
    data = tar_bytes({"a.py": b"x = 1\n"})
    (tmp_path / "small.tar.xz").write_bytes(lzma.compress(data, preset=6))
    (tmp_path / "large.tar.xz").write_bytes(lzma.compress(data, preset=9))
    assert len(files_of(tmp_path / "small.tar.xz")) == 1
    with pytest.raises(UserError, match=r"large\.tar\.xz: damaged archive \(Memory usage limit"):
        files_of(tmp_path / "large.tar.xz")


@pytest.mark.parametrize("keep", [10, 200, 3000])
@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("xz", lzma.compress), ("bz2", bz2.compress), ("zst", zstd)])
def test_truncated_archive_is_named(tmp_path: Path, keep: int, ending: str, pack: Callable[[bytes], bytes]) -> None:
    whole = pack(tar_bytes({f"top/{n}.py": os.urandom(4000).hex().encode() for n in range(5)}))
    (tmp_path / f"cut.tar.{ending}").write_bytes(whole[:keep])
    with pytest.raises(UserError, match=rf"cut\.tar\.{ending}: damaged archive"):
        files_of(tmp_path / f"cut.tar.{ending}")


def test_truncated_zip_and_deb_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "cut.zip", "w") as archive:
        archive.writestr("a.py", "x = 1\n" * 100)
    deb_of(tmp_path / "cut.deb", b"Package: x\n", tar_bytes({"a.py": b"x = 1\n" * 100}))
    for name in ("cut.zip", "cut.deb"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-60])
        with pytest.raises(UserError, match=rf"{name}: damaged archive"):
            files_of(path)


def test_empty_archives_hold_nothing(tmp_path: Path) -> None:
    tar_of(tmp_path / "a.tar.gz", {})
    zipfile.ZipFile(tmp_path / "b.zip", "w").close()
    (tmp_path / "c.tar").write_bytes(b"")
    deb_of(tmp_path / "d.deb", b"Package: d\n", tar_bytes({}))
    assert files_of(tmp_path / "*") == []


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "words.tar.gz").write_bytes(b"just words, many of them. " * 100)
    with pytest.raises(UserError, match=r"words\.tar\.gz: damaged archive \(it holds what is no tar header"):
        files_of(tmp_path / "words.tar.gz")
    (tmp_path / "words.rar").write_bytes(b"Rar!")
    with pytest.raises(UserError, match=r"words\.rar: not one of"):
        files_of(tmp_path / "words.rar")


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


def test_stream_is_bounded() -> None:
    def chunks() -> Iterator[bytes]:
        while True:
            yield bytes(700)

    endless = chunks()
    stream = Stream(lambda count: next(endless)[:count], 1500)
    assert len(stream.exactly(1000)) == 1000
    with pytest.raises(Damaged, match="more than 1,500 bytes"):
        stream.skip(10_000)


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


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "tar.zst", "zip", "deb"])
def test_damage_anywhere_is_an_error_with_the_name_or_does_nothing(tmp_path: Path, kind: str) -> None:
    data = tar_bytes({f"p/{n}.py": b"x = 1\n" * 50 for n in range(4)} | {"p/" + "long" * 40 + ".py": b"y", "p/PKG-INFO": b"Name: p\n"})
    path = tmp_path / f"p.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(4):
                archive.writestr(f"{number}.py", "x = 1\n" * 50)
    elif kind == "deb":
        deb_of(path, b"Package: p\n", data)
    else:
        path.write_bytes({"tar": bytes, "tar.gz": gzip.compress, "tar.xz": lzma.compress, "tar.zst": zstd}[kind](data))
    whole, draw = path.read_bytes(), random.Random(1)
    messages = []
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(draw.randrange(1, 4)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        path.write_bytes(changed[: draw.randrange(1, len(changed))] if draw.random() < 0.2 else changed)
        try:
            assert all(len(raw.data) <= LIMITS.max_file_bytes for raw in files_of(path))
        except UserError as error:
            messages.append(str(error))
    assert len(messages) > 30
    assert all(f"p.{kind}: damaged archive" in message for message in messages)
