"""Archives that are damaged or mean harm: nothing is written, memory is bounded, what is wrong is said."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.corpus.sources import Limits, containers
from megatron_snow.corpus.sources.tar import Damaged, Stream
from tests.corpus.archives import LIMITS, deb_of, files_of, tar_bytes, tar_of, zstd


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


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "words.tar.gz").write_bytes(b"just words, many of them. " * 100)
    with pytest.raises(UserError, match=r"words\.tar\.gz: damaged archive \(it holds what is no tar header"):
        files_of(tmp_path / "words.tar.gz")
    (tmp_path / "words.rar").write_bytes(b"Rar!")
    with pytest.raises(UserError, match=r"words\.rar: not one of"):
        files_of(tmp_path / "words.rar")


def test_stream_is_bounded() -> None:
    def chunks() -> Iterator[bytes]:
        while True:
            yield bytes(700)

    endless = chunks()
    stream = Stream(lambda count: next(endless)[:count], 1500)
    assert len(stream.exactly(1000)) == 1000
    with pytest.raises(Damaged, match="more than 1,500 bytes"):
        stream.skip(10_000)


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


def test_empty_archives_hold_nothing(tmp_path: Path) -> None:
    tar_of(tmp_path / "a.tar.gz", {})
    zipfile.ZipFile(tmp_path / "b.zip", "w").close()
    (tmp_path / "c.tar").write_bytes(b"")
    deb_of(tmp_path / "d.deb", b"Package: d\n", tar_bytes({}))
    assert files_of(tmp_path / "*") == []
