"""The lineage of a dataset: from tokens to files in bounded memory; what is damaged or does not fit is named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.datasets import IndexedWriter, Lineage, tokenize_shards
from megatron_snow.datasets import lineage as module
from megatron_snow.datasets.lineage import LINEAGE, TEXTS, LineageWriter
from megatron_snow.pipeline import shards_in


@pytest.fixture(scope="module")
def tokens(grouped_shards: Path, code_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("tokens") / "general"
    tokenize_shards(shards_in(grouped_shards), code_tokenizer, output)
    return output


@pytest.fixture
def copy(tokens: Path, tmp_path: Path) -> Path:
    shutil.copytree(tokens, tmp_path / "copy")
    return tmp_path / "copy" / "Python"


def write_lineage(prefix: Path, files: int, step: int) -> None:
    """A lineage of files of 3 tokens, written in tables of `step` rows, and the tokens for it."""
    with LineageWriter(prefix.with_name(f"{prefix.name}.lineage.parquet")) as writer:
        for first in range(0, files, step):
            numbers = np.arange(first, min(first + step, files))
            texts = {name: [f"{name}{number}" for number in numbers] for name in TEXTS}
            columns = {"token_start": numbers * 3, "tokens": np.full(len(numbers), 2), "group": numbers // 10}
            writer.write(pa.table({**texts, **columns, "size": numbers, "name_tokens": numbers * 0}))
        writer.describe({"tokens": 3 * files, "token_bytes": 2})
    np.save(prefix.with_name(f"{prefix.name}.starts.npy"), np.arange(files) * 3)
    prefix.with_name(f"{prefix.name}.bin").write_bytes(bytes(6 * files))


def test_lookups_read_few_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", 100)
    write_lineage(tmp_path / "a", 5_000, 170)
    lineage = Lineage(tmp_path / "a")
    read = []
    original = lineage._row_group
    monkeypatch.setattr(lineage, "_row_group", lambda number: (read.append(number), original(number))[1])
    assert [lineage.at(token).path for token in (0, 2, 3, 14_999, 7_501)] == ["path0", "path0", "path1", "path4999", "path2500"]
    assert set(read) == {0, 25, 49}
    assert [origin.id for origin in lineage.between(298, 5)] == ["id99", "id100"]
    assert lineage.between(5, 0) == []
    assert len(lineage._groups) <= 8
    assert lineage.rows(np.array([99, 100, 4_000]))["swhid"].to_pylist() == ["swhid99", "swhid100", "swhid4000"]
    assert lineage.extent(4_999) == (14_997, 15_000)
    for token in (-1, 15_000):
        with pytest.raises(IndexError, match="of 15000"):
            lineage.at(token)


def test_the_bytes_do_not_depend_on_how_rows_come(tmp_path: Path) -> None:
    for name, step in (("a", 40_000), ("b", 999), ("c", 16_384)):
        write_lineage(tmp_path / name, 40_000, step)
    contents = {(tmp_path / f"{name}.lineage.parquet").read_bytes() for name in "abc"}
    assert len(contents) == 1
    assert pq.ParquetFile(tmp_path / "a.lineage.parquet").num_row_groups == 3


def test_a_dataset_without_a_lineage(tmp_path: Path) -> None:
    with IndexedWriter(tmp_path / "a", np.uint16) as writer:
        writer.append([1, 2])
    with pytest.raises(UserError, match=r"a\.lineage\.parquet: no such file.*--group-by"):
        Lineage(tmp_path / "a")


def test_a_lineage_of_other_tokens(copy: Path) -> None:
    with open(f"{copy}.bin", "ab") as file:
        file.write(b"\0\0")
    with pytest.raises(
        UserError, match=r"Python\.lineage\.parquet: of a \.bin of [\d,]+ bytes, Python\.bin has [\d,]+; they do not belong"
    ):
        Lineage(copy)


def test_a_flipped_bit_is_an_error_and_no_other_file(copy: Path) -> None:
    """In the starts by the seal, in the table by Parquet's own checksum of a page, which only who reads the page computes."""
    starts, table = Path(f"{copy}.starts.npy"), Path(f"{copy}.lineage.parquet")
    whole = starts.read_bytes()
    starts.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    with pytest.raises(UserError, match=r"Python\.starts\.npy: bytes 0 to .* not what was sealed"):
        Lineage(copy)
    starts.write_bytes(whole)
    whole = table.read_bytes()
    column = pq.ParquetFile(table).metadata.row_group(0).column(3)
    place = column.data_page_offset + column.total_compressed_size // 2
    table.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(UserError, match=r"Python\.lineage\.parquet: damaged"):
        Lineage(copy).at(5)


@pytest.mark.parametrize("damage", ["missing", "short", "pickle", "text", "other", "descending"])
def test_damaged_starts(copy: Path, damage: str) -> None:
    path = Path(f"{copy}.starts.npy")
    starts = np.load(path)
    if damage == "missing":
        path.unlink()
    elif damage == "pickle":
        np.save(path, np.array([{}], object), allow_pickle=True)
    elif damage == "text":
        path.write_text("not an array")
    else:
        np.save(path, {"short": starts[:-1], "other": starts.astype(np.int32), "descending": starts[::-1]}[damage])
    with pytest.raises(UserError, match=r"Python\.starts\.npy: .*preprocess_data"):
        Lineage(copy)


def test_damaged_tables(copy: Path) -> None:
    path = Path(f"{copy}.lineage.parquet")
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["licence"]), path)
    with pytest.raises(UserError, match="no column 'licence'"):
        Lineage(copy)
    pq.write_table(table.replace_schema_metadata(None), path)
    with pytest.raises(UserError, match="does not say of which tokens"):
        Lineage(copy)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"Python\.lineage\.parquet: damaged"):
        Lineage(copy)


def test_columns_that_shards_lack_are_empty_texts(tokens: Path, code_documents: list[dict[str, Any]]) -> None:
    origin = Lineage(tokens / "C").at(0)
    assert (origin.swhid, origin.sha256, origin.language) == ("", "", "C")
    assert set(module.Origin.__dataclass_fields__) <= set(LINEAGE.names)
