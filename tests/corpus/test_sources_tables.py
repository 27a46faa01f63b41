"""Tables: JSONL and Parquet in the layouts of The Stack v1 and v2 and StarCoderData, whole, cut and damaged."""

from __future__ import annotations

import bz2
import datetime
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.config import Corpus, Source
from megatron_snow.corpus.collection import document_of
from megatron_snow.corpus.sources import Limits, RawFile, list_parts, read_part, tables
from megatron_snow.corpus.stages import collect

LIMITS = Limits(max_file_bytes=100_000)
BLOB = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def files_of(kind: Any, path: Path) -> list[RawFile]:
    return [raw for part in list_parts([Source(kind, str(path))]) for raw in read_part(part, LIMITS)]


def zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


PACKED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstd, ".bz2": bz2.compress}


@pytest.mark.parametrize("ending", PACKED)
def test_jsonl_is_read_compressed_or_not(tmp_path: Path, ending: str) -> None:
    rows = [{"content": f"x = {n}\n", "max_stars_repo_name": "a/b", "max_stars_repo_path": f"{n}.py"} for n in range(3)]
    path = tmp_path / f"data.jsonl{ending}"
    path.write_bytes(PACKED[ending]("".join(json.dumps(row) + "\n" for row in rows).encode()))
    files = files_of("jsonl", path)
    assert [(raw.repository, raw.path, raw.data) for raw in files] == [("a/b", f"{n}.py", f"x = {n}\n") for n in range(3)]
    assert [raw.provenance for raw in files] == [f"{path}:{n}" for n in (1, 2, 3)]


@pytest.mark.parametrize("size", [1, 7, 30, 31, 100, 10_000])
def test_each_line_of_a_cut_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"text": "x" * (n % 40)}) + "\n" * (1 + n % 2) for n in range(50))[:-1])  # no line feed at the end
    monkeypatch.setattr(tables, "PART_BYTES", size)
    files = files_of("jsonl", path)
    assert [raw.data for raw in files] == ["x" * (n % 40) for n in range(50)]
    data = path.read_bytes()
    if size < 10_000:
        assert all(data[int(raw.provenance.rpartition("@")[2]) :].startswith(b'{"text"') for raw in files)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{broken\n", r"bad\.jsonl:1: not valid JSON"),
        ('{"size": 3}\n', "no column content"),
        ("[1]\n", "one JSON object"),
        ("[" * 100_000 + "\n", r"bad\.jsonl:1: not valid JSON"),
        ('{"content": 3}\n', "content is int, not text"),
        ('{"files": [3]}\n', r"files\[0\]: is int"),
    ],
)
def test_bad_jsonl_names_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        files_of("jsonl", tmp_path / "bad.jsonl")


def test_invalid_utf8_in_jsonl_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_bytes(b'{"content": "x"}\n{"content": "\xff"}\n')
    with pytest.raises(UserError, match=r"bad\.jsonl:2: not valid JSON .*utf-8"):
        files_of("jsonl", tmp_path / "bad.jsonl")


def test_half_a_character_is_a_counted_drop(tmp_path: Path) -> None:
    (tmp_path / "half.jsonl").write_text('{"content": "x = 1", "path": "\\ud800.py"}\n{"content": "\\ud800", "path": "a.py"}\n')
    assert [document_of(raw)[1] for raw in files_of("jsonl", tmp_path / "half.jsonl")] == ["encoding", "encoding"]
    manifest = collect(Corpus(sources=(Source("jsonl", str(tmp_path / "half.jsonl")),)), 1, tmp_path / "out")
    assert manifest.counts["dropped:encoding"] == 2
    assert (tmp_path / "out" / "rejects" / "encoding.jsonl").read_text().count("\n") == 2


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_truncated_table_is_named(tmp_path: Path, ending: str) -> None:
    data = PACKED[ending](b'{"content": "x = 1"}\n' * 5000 + os.urandom(5000).hex().encode())
    (tmp_path / f"cut.jsonl{ending}").write_bytes(data[:-2000])
    with pytest.raises(UserError, match=rf"cut\.jsonl\{ending}: damaged"):
        files_of("jsonl", tmp_path / f"cut.jsonl{ending}")


def test_long_line_is_counted_with_its_size(tmp_path: Path) -> None:
    line = json.dumps({"content": "x" * 2_000_000})
    (tmp_path / "long.jsonl").write_text(f'{{"content": "a"}}\n{line}\n{{"content": "b"}}\n')
    first, long, last = files_of("jsonl", tmp_path / "long.jsonl")
    assert (first.data, last.data, last.provenance[-2:]) == ("a", "b", ":3")
    assert (long.dropped, long.size) == ("too_large", len(line) + 1)


READ_IN_LITTLE_MEMORY = """
import resource, sys
from megatron_snow.config import Corpus, Source
from megatron_snow.corpus.sources import Limits, list_parts, read_part

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 64_000_000, used + 64_000_000))
for part in list_parts([Source("jsonl", sys.argv[1])]):
    for raw in read_part(part, Limits(1_000_000)):
        print(raw.dropped or raw.data, raw.size)
"""


@pytest.mark.parametrize("megabytes", [300, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_huge_line_takes_little_memory(tmp_path: Path, megabytes: int, ending: str) -> None:
    path = tmp_path / f"huge.jsonl{ending}"
    with gzip.open(path, "wb", compresslevel=1) if ending else open(path, "wb") as file:
        file.write(b'{"content": "a"}\n{"content": "')
        for _ in range(megabytes):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n{"content": "b"}\n')
    done = subprocess.run(
        [sys.executable, "-c", READ_IN_LITTLE_MEMORY, str(path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.split("\n") == ["a 1", f"too_large {megabytes * 1_000_000 + 16}", "b 1", ""], done.stderr[-2000:]


def test_parquet_of_the_stack_v1(tmp_path: Path) -> None:
    table = pa.table({
        "hexsha": ["0", "1"], "content": ["<reponame>a/b<filename>x.py<gh_stars>3\nx = 1\n", "y"],
        "max_stars_repo_name": ["a/b", "c/d"], "max_stars_repo_path": ["x.py", "y.py"], "max_stars_repo_head_hexsha": ["abc", None],
        "max_stars_repo_licenses": [["MIT", "GPL-3.0-only"], []], "max_stars_count": [3, None], "max_forks_count": [1.0, float("nan")],
        "max_stars_repo_stars_event_max_datetime": ["2020-01-01T00:00:00.000Z", None], "lang": ["Python", "Python"],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "stack.parquet")
    first, second = files_of("parquet", tmp_path / "stack.parquet")
    assert (first.repository, first.path, first.language, first.data) == ("a/b", "x.py", "Python", "x = 1\n")
    assert (first.licences.declared, first.stars, first.forks, first.revision) == ("MIT AND GPL-3.0-only", 3, 1, "abc")
    assert (first.date, first.provenance) == ("2020-01-01T00:00:00.000Z", f"{tmp_path}/stack.parquet#0.0")
    assert (second.licences.declared, second.stars, second.forks, second.revision, second.data) == ("", None, None, "", "y")


def v2_row(**more: Any) -> dict[str, Any]:
    return {
        "blob_id": BLOB, "path": "/src/x.py", "detected_licenses": ["MIT"], "license_type": "permissive", "src_encoding": "UTF-8",
        "language": "Python", **more,
    }  # fmt: skip


V2_REPOSITORY = {
    "repo_name": "a/b", "revision_id": "abc", "star_events_count": 5, "fork_events_count": 2,
    "committer_date": datetime.datetime(2020, 1, 2, 3, 4, 5),
}  # fmt: skip


def test_parquet_of_the_stack_v2_with_content(tmp_path: Path) -> None:
    rows = [v2_row(content="x = 1\n", **V2_REPOSITORY), v2_row(content="y", **V2_REPOSITORY | {"license_type": "no_license"})]
    rows[1] |= {"detected_licenses": [], "license_type": "no_license"}
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "v2.parquet")
    raw, bare = files_of("parquet", tmp_path / "v2.parquet")
    document, _, _ = document_of(raw)
    assert document is not None
    expected = {
        "repository": "a/b", "path": "src/x.py", "revision": "abc", "stars": 5, "forks": 2, "date": "2020-01-02T03:04:05", "licence": "MIT",
        "licence_kind": "permissive", "swhid": f"swh:1:cnt:{BLOB}", "language": "Python", "content": "x = 1\n",
    }  # fmt: skip
    assert {name: document[name] for name in expected} == expected
    assert (bare.licences.declared, bare.licence_kind) == ("", "unlicensed")


def test_parquet_of_the_stack_v2_nested_with_content(tmp_path: Path) -> None:
    row = {**V2_REPOSITORY, "files": [v2_row(content="x = 1\n"), v2_row(content="y = 2\n", path="y.py")], "num_files": 2}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "smol.parquet")
    files = files_of("parquet", tmp_path / "smol.parquet")
    assert [(raw.repository, raw.path, raw.data, raw.stars, raw.revision) for raw in files] == [
        ("a/b", "src/x.py", "x = 1\n", 5, "abc"),
        ("a/b", "y.py", "y = 2\n", 5, "abc"),
    ]


@pytest.mark.parametrize("nested", [False, True])
def test_the_stack_v2_without_content_says_where_it_is(tmp_path: Path, nested: bool) -> None:
    row = {**V2_REPOSITORY, "files": [v2_row()]} if nested else V2_REPOSITORY | v2_row()
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "ids.parquet")
    with pytest.raises(UserError, match=r"ids\.parquet.*list of ids, without the text: fetch .*Software Heritage.*column `content`"):
        files_of("parquet", tmp_path / "ids.parquet")


def test_content_as_bytes_is_decoded(tmp_path: Path) -> None:
    rows = [v2_row(content="# coding: latin-1\n# café\n".encode("latin-1"), repo_name="a/b")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "bytes.parquet")
    (raw,) = files_of("parquet", tmp_path / "bytes.parquet")
    document, _, _ = document_of(raw)
    assert document is not None
    assert document["content"] == "# coding: latin-1\n# café\n"


def test_parquet_of_starcoderdata(tmp_path: Path) -> None:
    row = {"max_stars_repo_path": "x.py", "max_stars_repo_name": "a/b", "max_stars_count": 7, "id": "12", "content": "x = 1\n"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "s.parquet")
    document, _, _ = document_of(files_of("parquet", tmp_path / "s.parquet")[0])
    assert document is not None
    assert (document["repository"], document["stars"], document["language"], document["licence_kind"]) == ("a/b", 7, "Python", "unlicensed")


def test_parquet_without_content_names_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"blob": ["x"]}), tmp_path / "odd.parquet")
    with pytest.raises(UserError, match=r"odd\.parquet: no column content .*it has blob"):
        files_of("parquet", tmp_path / "odd.parquet")


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": [os.urandom(50).hex() for _ in range(1000)]}), tmp_path / "cut.parquet")
    data = (tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[:-100])
    (tmp_path / "flipped.parquet").write_bytes(data[:200] + bytes(40_000) + data[40_200:])
    for name in ("cut", "flipped"):
        with pytest.raises(UserError, match=rf"{name}\.parquet: damaged"):
            files_of("parquet", tmp_path / f"{name}.parquet")


def test_parquet_is_cut_at_its_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"content": [f"x = {n}\n" for n in range(10)]}), tmp_path / "a.parquet", row_group_size=3)
    monkeypatch.setattr(tables, "PART_BYTES", 1)
    parts = list(list_parts([Source("parquet", str(tmp_path / "a.parquet"))]))
    assert [part.piece for part in parts] == [(0,), (1,), (2,), (3,)]
    rows = [raw for part in parts for raw in read_part(part, LIMITS)]
    assert [raw.data for raw in rows] == [f"x = {n}\n" for n in range(10)]
    assert rows[4].provenance.endswith("a.parquet#1.1")


def test_parquet_with_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    bytes_ = pa.array([b"x = \xff"], pa.binary())
    text = pa.StringArray.from_buffers(1, *bytes_.buffers()[1:])
    pq.write_table(pa.table({"content": text}), tmp_path / "odd.parquet")
    with pytest.raises(UserError, match=r"odd\.parquet: damaged \('utf-8' codec can't decode byte 0xff"):
        files_of("parquet", tmp_path / "odd.parquet")
