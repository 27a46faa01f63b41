"""Shards: what is written is read back, and what is damaged or missing is named."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.pipeline import DOCUMENT, ShardWriter, count_rows, read_documents, read_table, schema_of, shards_in

ROW = {
    "id": "0" * 32, "repository": "a/b", "path": "é.py", "language": "Python", "licence": "", "size": 5, "provenance": "p",
    "content": "x = 1",
}  # fmt: skip


def write(path: Path, count: int = 1, size: int = 5) -> Path:
    with ShardWriter(path) as writer:
        for number in range(count):
            writer.write(ROW | {"path": f"{number}.py", "size": size})
    return path


def test_rows_come_back_in_order_over_many_row_groups(tmp_path: Path) -> None:
    path = write(tmp_path / "s.parquet", count=700, size=100_000)  # counted as 70 MB: several row groups
    assert [row["path"] for row in read_documents(path)] == [f"{number}.py" for number in range(700)]
    assert count_rows(path) == 700
    assert schema_of(path) == DOCUMENT


def test_empty_shard_is_a_shard(tmp_path: Path) -> None:
    path = write(tmp_path / "s.parquet", count=0)
    assert list(read_documents(path)) == []
    assert read_table(path).num_rows == 0


@pytest.mark.parametrize("read", [read_table, lambda path: list(read_documents(path)), schema_of])
def test_damaged_shard_is_named(tmp_path: Path, read: object) -> None:
    path = write(tmp_path / "s.parquet", count=50)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"s\.parquet: damaged shard .*run the stage that makes it again"):
        read(path)  # type: ignore[operator]


def test_missing_shard_and_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.parquet: no such shard"):
        read_table(tmp_path / "nowhere.parquet")
    with pytest.raises(UserError, match=r"no \.parquet shards there"):
        shards_in(tmp_path)


def test_missing_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "s.parquet")
    with pytest.raises(UserError, match=r"no column 'score'; it has id, repository"):
        list(read_documents(path, ["score"]))


def test_writer_leaves_out_what_its_schema_does_not_name(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "s.parquet", pa.schema([("path", pa.string())])) as writer:
        writer.write(ROW)
    assert read_table(tmp_path / "s.parquet").to_pylist() == [{"path": "é.py"}]
