"""Columns of others by our names and types, what is missing, and text as compiled loops take it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_snow.common.checksums import text_digest
from megatron_snow.common.errors import UserError
from megatron_snow.pipeline import DOCUMENT, batches_of, read_documents, read_table, schema_of, texts_of
from megatron_snow.pipeline.columns import ALIASES, conform


def shard(file: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), file)
    return file


@pytest.mark.parametrize(("column", "alias"), [(column, alias) for column, aliases in ALIASES.items() for alias in aliases])
def test_every_alias_is_read_by_our_name(tmp_path: Path, column: str, alias: str) -> None:
    value: Any = 7 if DOCUMENT.field(column).type == pa.int64() else "value"
    others = {} if column == "content" else {"content": ["text"]}
    path = shard(tmp_path / "s.parquet", **(others | {alias: [value]}))
    (row,) = read_documents(path, [column])
    assert row == {column: value}


def test_our_own_name_comes_before_an_alias(tmp_path: Path) -> None:
    path = shard(tmp_path / "s.parquet", content=["ours"], text=["theirs"], code=["theirs"])
    (row,) = read_documents(path)
    assert row["content"] == "ours"
    assert not {"text", "code"} & row.keys()


def test_the_stack_s_list_of_licences_is_its_first(tmp_path: Path) -> None:
    lists = pa.array([["MIT", "BSD"], [], None], pa.list_(pa.string()))
    path = shard(tmp_path / "s.parquet", content=["a", "b", "c"], max_stars_repo_licenses=lists)
    assert [row["licence"] for row in read_documents(path)] == ["MIT", None, None]


def test_what_is_missing_is_null_and_id_and_size_are_computed(tmp_path: Path) -> None:
    path = shard(tmp_path / "s.parquet", content=["é", None, ""], quality=[1.5, 2.5, 3.5])
    rows = list(read_documents(path))
    assert [row["id"] for row in rows] == [text_digest("é"), text_digest(""), text_digest("")]
    assert [row["size"] for row in rows] == [2, None, 0]
    assert {row["language"] for row in rows} == {None}
    assert [row["quality"] for row in rows] == [1.5, 2.5, 3.5]  # columns of others come as they are
    assert schema_of(path).names == [*DOCUMENT.names, "quality"]


@pytest.mark.parametrize("columns", [["id"], ["size"], ["id", "path"]])
def test_id_and_size_alone_are_computed_from_the_text(tmp_path: Path, columns: list[str]) -> None:
    path = shard(tmp_path / "s.parquet", content=["é"], path=["p"])
    expected = {"id": text_digest("é"), "size": 2, "path": "p"}
    assert list(read_documents(path, columns)) == [{name: expected[name] for name in columns}]


@pytest.mark.parametrize(("kind", "values"), [(pa.int32(), [1]), (pa.float64(), [1.0]), (pa.string(), ["1"])])
def test_numbers_of_another_type_are_cast_where_nothing_is_lost(tmp_path: Path, kind: pa.DataType, values: list[Any]) -> None:
    path = shard(tmp_path / "s.parquet", content=["a"], stars=pa.array(values, kind))
    assert [row["stars"] for row in read_documents(path)] == [1]


@pytest.mark.parametrize("values", [[1.5], ["many"], [b"\x00"]])
def test_what_cannot_be_cast_is_named(tmp_path: Path, values: list[Any]) -> None:
    path = shard(tmp_path / "s.parquet", content=["a"], stars=values)
    with pytest.raises(UserError, match=r"s\.parquet: column 'stars' is .*, not int64; change it or take it out"):
        list(read_documents(path))


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.binary()])
def test_text_of_another_arrow_type(tmp_path: Path, kind: pa.DataType) -> None:
    values = pa.array([b"a", b"b", b"a"]) if kind == pa.binary() else pa.array(["a", "b", "a"]).cast(kind)
    assert [row["content"] for row in read_documents(shard(tmp_path / "s.parquet", content=values))] == ["a", "b", "a"]


def invalid_string() -> pa.Array:
    """A string column with a byte that is no UTF-8, as a writer that does not check makes it."""
    return pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\2\0\0\0\4\0\0\0"), pa.py_buffer(b"ok\xffx"))


@pytest.mark.parametrize("column", ["content", "path"])
def test_text_that_is_not_utf8_is_named(tmp_path: Path, column: str) -> None:
    path = shard(tmp_path / "s.parquet", **({"content": ["a", "b"]} | {column: invalid_string()}))
    with pytest.raises(UserError, match=r"s\.parquet: .*[Ii]nvalid UTF8"):
        list(batches_of(path))


def test_bytes_that_are_not_utf8_are_not_text(tmp_path: Path) -> None:
    path = shard(tmp_path / "s.parquet", content=pa.array([b"\xff"]))
    with pytest.raises(UserError, match="column 'content' is binary, not string"):
        list(batches_of(path))


@pytest.mark.parametrize("columns", [None, ["content"], ["language", "content"]])
def test_a_parquet_file_without_text_is_refused_where_text_is_asked_for(tmp_path: Path, columns: list[str] | None) -> None:
    path = shard(tmp_path / "s.parquet", body=["a"], language=["Python"])
    with pytest.raises(UserError, match=r"s\.parquet: no column 'content'; it has body, language"):
        list(read_documents(path, columns))
    assert read_table(path).to_pylist() == [{"body": "a", "language": "Python"}]  # what stages keep for themselves has none


def test_conform_of_no_rows_has_every_column() -> None:
    table = conform(pa.table({"content": pa.array([], pa.string())}), None, Path("s.parquet"))
    assert table.schema.names == DOCUMENT.names
    assert table.num_rows == 0


TEXTS = ["x = 1", "", None, "é😀", "last"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(TEXTS),
        pa.chunked_array([TEXTS[:2], [], TEXTS[2:]]),
        pa.array(["cut off", *TEXTS, "cut off"])[1:-1],
        pa.array(TEXTS, pa.large_string()),
        pa.chunked_array([pa.array(["cut off", *TEXTS])[1:]]),
    ],
    ids=["array", "chunks", "slice", "large", "sliced chunk"],
)
def test_texts_are_bytes_and_offsets(column: Any) -> None:
    texts = texts_of(column)
    assert len(texts) == len(TEXTS)
    assert [bytes(texts.data[start:end]).decode() for start, end in zip(texts.offsets, texts.offsets[1:])] == [text or "" for text in TEXTS]
    assert texts.offsets.dtype == "int64"


@pytest.mark.parametrize("column", [pa.array([], pa.string()), pa.chunked_array([], pa.string()), pa.array([None], pa.string())])
def test_texts_of_nothing(column: Any) -> None:
    texts = texts_of(column)
    assert len(texts) == len(column)
    assert texts.offsets.tolist() == [0] * (len(column) + 1)


def test_texts_are_not_copied() -> None:
    column = pa.array(["a" * 1000], pa.large_string())
    assert texts_of(column).data.ctypes.data == column.buffers()[2].address


def test_a_table_of_another_layout_round_trips(tmp_path: Path) -> None:
    path = shard(tmp_path / "s.parquet", text=["a"], repo_name=["o/r"], lang=["Python"], star_events_count=[3], extra=[[1, 2]])
    table = read_table(path, ["content", "repository", "language", "stars"])
    assert table.to_pylist() == [{"content": "a", "repository": "o/r", "language": "Python", "stars": 3}]
