"""Every kind of source, on real packages and on archives that mean harm."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
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
    assert decoder.licence == "PSF-2.0"


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


def tar_of(path: Path, members: dict[str, bytes], extra: tuple[tarfile.TarInfo, ...] = ()) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in extra:
            tar.addfile(info)
    return path


def test_sdist_is_a_repository_with_its_licence(tmp_path: Path) -> None:
    metadata = b"Metadata-Version: 2.4\nName: thing\nLicense-Expression: MIT\n"
    tar_of(tmp_path / "thing-1.0.tar.gz", {"thing-1.0/PKG-INFO": metadata, "thing-1.0/thing/a.py": b"x = 1\n"})
    (raw,) = [raw for raw in files_of(Source("archive", str(tmp_path / "*.tar.gz"))) if raw.path.endswith(".py")]
    assert (raw.repository, raw.path, raw.licence, raw.data) == ("thing-1.0", "thing/a.py", "MIT", b"x = 1\n")


def test_wheel_and_zip_are_read_in_place(tmp_path: Path) -> None:
    for name in ("w-1-py3-none-any.whl", "z.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("pkg/a.py", "x = 1\n")
            archive.writestr("w-1.dist-info/METADATA", "Name: w\nLicense: Apache 2.0\n")
    before = sorted(tmp_path.iterdir())
    files = files_of(Source("archive", str(tmp_path / "*.*")))
    assert [raw.path for raw in files] == ["pkg/a.py", "pkg/a.py"]
    assert files[0].licence == "Apache-2.0"
    assert sorted(tmp_path.iterdir()) == before


def test_archive_that_means_harm_gives_counted_drops(tmp_path: Path) -> None:
    link = tarfile.TarInfo("top/link.py")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    members = {"top/../../up.py": b"x", "/abs.py": b"x", "top/big.py": b"x" * 200_000, "top/ok.py": b"x = 1\n"}
    tar_of(tmp_path / "evil.tar.gz", members, (link,))
    dropped = {raw.provenance.partition("!")[2]: raw.dropped for raw in files_of(Source("archive", str(tmp_path / "evil.tar.gz")))}
    assert dropped == {"top/../../up.py": "unsafe_path", "/abs.py": "unsafe_path", "top/big.py": "too_large", "top/ok.py": ""}


def test_zip_bomb_is_not_inflated(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.py", b"x" * 20_000_000)
    (raw,) = files_of(Source("archive", str(path)))
    assert (raw.dropped, raw.data) == ("too_large", b"")


def test_zip_that_declares_less_than_it_holds_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "liar.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.py", b"x" * 1_000_000)
    data = path.read_bytes()
    path.write_bytes(data.replace((1_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    with pytest.raises(UserError, match=r"liar\.zip: damaged archive"):
        files_of(Source("archive", str(path)))


@pytest.mark.parametrize("keep", [10, 200, 3000])
def test_truncated_archive_is_named(tmp_path: Path, keep: int) -> None:
    whole = tar_of(tmp_path / "whole.tar.gz", {f"top/{n}.py": os.urandom(4000).hex().encode() for n in range(5)}).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[:keep])
    with pytest.raises(UserError, match=r"cut\.tar\.gz: damaged archive"):
        files_of(Source("archive", str(tmp_path / "cut.tar.gz")))


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_jsonl_is_read_compressed_or_not(tmp_path: Path, ending: str) -> None:
    rows = [{"content": f"x = {n}\n", "max_stars_repo_name": "a/b", "max_stars_repo_path": f"{n}.py"} for n in range(3)]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path = tmp_path / f"data.jsonl{ending}"
    if ending == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(data)
    else:
        path.write_bytes(gzip.compress(data) if ending else data)
    files = files_of(Source("jsonl", str(path)))
    assert [(raw.repository, raw.path, raw.data) for raw in files] == [("a/b", f"{n}.py", f"x = {n}\n") for n in range(3)]


def test_jsonl_line_of_any_length_is_dropped_without_reading_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps({"content": "x" * 5_000_000}) + "\n" + json.dumps({"content": "y"}) + "\n")
    assert [(raw.dropped, raw.data) for raw in files_of(Source("jsonl", str(path)))] == [("too_large", b""), ("", "y")]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{broken\n", r"bad\.jsonl:1: not valid JSON"), ('{"size": 3}\n', "no column content"), ("[1]\n", "one JSON object")],
)
def test_bad_jsonl_names_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        files_of(Source("jsonl", str(tmp_path / "bad.jsonl")))


def test_truncated_gzip_is_named(tmp_path: Path) -> None:
    data = gzip.compress(b'{"content": "x = 1"}\n' * 5000 + os.urandom(5000))
    (tmp_path / "cut.jsonl.gz").write_bytes(data[:-2000])
    with pytest.raises(UserError, match=r"cut\.jsonl\.gz"):
        files_of(Source("jsonl", str(tmp_path / "cut.jsonl.gz")))


def test_parquet_in_the_columns_of_the_stack(tmp_path: Path) -> None:
    table = pa.table({
        "content": ["<reponame>a/b<filename>x.py<gh_stars>3\nx = 1\n", "y"],
        "max_stars_repo_name": ["a/b", "c/d"],
        "max_stars_repo_path": ["x.py", "y.py"],
        "max_stars_repo_licenses": [["MIT"], []],
        "lang": ["Python", "Python"],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "stack.parquet")
    first, second = files_of(Source("parquet", str(tmp_path / "stack.parquet")))
    assert (first.repository, first.path, first.licence, first.language, first.data) == ("a/b", "x.py", "MIT", "Python", "x = 1\n")
    assert (second.licence, second.data) == ("", "y")


def test_parquet_without_content_names_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"blob": ["x"]}), tmp_path / "odd.parquet")
    with pytest.raises(UserError, match=r"odd\.parquet: no column content .*it has blob"):
        files_of(Source("parquet", str(tmp_path / "odd.parquet")))


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
