"""check-dataset: what is wrong with a dataset is found, placed and named; what is whole is said to be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_snow.cli.main import run_verb
from megatron_snow.common.errors import UserError
from megatron_snow.datasets import IndexedDataset, IndexedWriter, Lineage, tokenize_shards
from megatron_snow.datasets.checking import check_dataset, prefixes_of
from megatron_snow.datasets.lineage_checks import check_lineage
from megatron_snow.datasets.seals import BLOCK, read_seal, seal
from megatron_snow.pipeline import shards_in
from megatron_snow.tokenizers import load_tokenizer


@pytest.fixture(scope="module")
def made(grouped_shards: Path, code_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("made") / "general"
    tokenize_shards(shards_in(grouped_shards), code_tokenizer, output)
    return output


@pytest.fixture
def tokens(made: Path, tmp_path: Path) -> Path:
    """A folder of two languages with seal and lineage."""
    shutil.copytree(made, tmp_path / "general")
    return tmp_path / "general"


def change(path: Path, at: int, flip: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= flip
    path.write_bytes(data)


def checked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run_verb("check_dataset", list(arguments))
    printed = capsys.readouterr()
    return code, printed.out + (printed.err if code == 2 else "")


def test_what_was_made_is_whole(tokens: Path, code_tokenizer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = load_tokenizer(code_tokenizer).vocab_size
    code, text = checked(capsys, str(tokens), "--vocab-size", str(size))
    assert code == 0
    for language in ("C", "Python"):
        data = IndexedDataset(tokens / language)
        assert (
            f"{tokens / language}: ok\n  {len(data):,} documents (0 empty), {len(data):,} sequences, {data.num_tokens:,} tokens of uint16"
            in text
        )
        assert f"lineage: {len(Lineage(tokens / language)):,} files; seal: whole" in text
        assert data.verify(workers=2)
    code, text = checked(capsys, str(tokens / "C.idx"), "--json")
    assert json.loads(text) == {
        "prefix": str(tokens / "C"), "dtype": "uint16", "documents": len(IndexedDataset(tokens / "C")), "empty_documents": 0,
        "sequences": len(IndexedDataset(tokens / "C")), "tokens": IndexedDataset(tokens / "C").num_tokens,
        "files": len(Lineage(tokens / "C")), "seal": "whole", "problems": [], "damage": [], "whole": True,
    }  # fmt: skip


@pytest.mark.parametrize("suffix", [".bin", ".idx", ".lineage.parquet", ".starts.npy", ".seal.json"])
def test_a_flipped_bit_anywhere_is_found(tokens: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tokens / f"Python{suffix}"
    change(path, path.stat().st_size // 2)
    code, text = checked(capsys, str(tokens))
    assert code == 1
    assert f"{tokens / 'C'}: ok" in text
    assert f"{tokens / 'Python'}: NOT OK" in text
    assert "seal: broken" in text
    assert path.name in text.partition("NOT OK")[2]


def test_damage_is_placed_and_its_documents_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = tmp_path / "x"
    with IndexedWriter(prefix, "uint16") as writer:
        for _ in range(30):
            writer.append(np.full(500_000, 7, np.uint16))  # 1 MB; a block is 8.39 of them
            writer.end_document()
    seal(prefix)
    change(tmp_path / "x.bin", 2 * BLOCK + 5)
    change(tmp_path / "x.bin", 29_999_999, 128)
    code, text = checked(capsys, str(prefix), "--workers", "2", "--json")
    damage = json.loads(text)["damage"]
    assert code == 1
    assert [(entry["first_byte"], entry["last_byte"]) for entry in damage] == [(2 * BLOCK, 3 * BLOCK), (3 * BLOCK, 30_000_000)]
    assert damage[0]["documents"] == [f"document {number}" for number in range(16, 26)]
    assert damage[1]["documents"] == [f"document {number}" for number in range(25, 30)]
    text = checked(capsys, str(prefix))[1]
    assert "not what was sealed; of document 16, document 17, document 18 ... document 25 (10 in all)\n" in text
    with pytest.raises(UserError, match=rf"x\.bin: bytes {2 * BLOCK} to 30000000 not what was sealed"):
        IndexedDataset(prefix).verify(workers=2)


def test_a_token_outside_the_vocabulary_is_named_with_its_file(
    tokens: Path, code_tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lineage, size = Lineage(tokens / "Python"), load_tokenizer(code_tokenizer).vocab_size
    origin = lineage.origin(40)
    path = tokens / "Python.bin"
    data = np.fromfile(path, np.uint16)
    data[origin.token_start + 1] = size
    data.tofile(path)
    seal(tokens / "Python")
    place = 2 * (origin.token_start + 1)
    code, text = checked(capsys, str(tokens / "Python"), "--vocab-size", str(size))
    assert code == 1
    assert (
        f"Python.bin: bytes {place} to {place + 2}: token {size} is not one of 0 to {size - 1}; of {origin.repository} {origin.path}\n"
        in text
    )
    assert checked(capsys, str(tokens / "Python"))[0] == 0


def test_negative_tokens_are_outside(tmp_path: Path) -> None:
    with IndexedWriter(tmp_path / "x", "int32") as writer:
        writer.append([1, 2, -3, 4])
    (damage,) = check_dataset(tmp_path / "x", 5).damage
    assert (damage.what, damage.first_byte, damage.documents) == ("token -3 is not one of 0 to 4", 8, ["document 0"])


def test_files_of_others_can_be_sealed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with IndexedWriter(tmp_path / "x_text_document", "uint16") as writer:
        writer.append([1, 2])
        writer.end_document()
        writer.end_document()
    prefix = tmp_path / "x_text_document"
    assert "2 documents (1 empty), 1 sequences, 2 tokens of uint16\n  lineage: none; seal: none" in checked(capsys, str(prefix))[1]
    assert read_seal(prefix) is None
    assert checked(capsys, str(prefix), "--seal", "--vocab-size", "2")[0] == 1
    assert read_seal(prefix) is None  # nothing that is wrong is sealed
    assert "seal: whole" in checked(capsys, str(tmp_path / "x_text_document.bin"), "--seal")[1]
    change(tmp_path / "x_text_document.bin", 0)
    code, text = checked(capsys, str(tmp_path), "--seal")
    assert code == 1
    assert "x_text_document.bin: bytes 0 to 4: not what was sealed; of document 0" in text


def test_what_is_missing_is_named(tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tokens / "C.idx").unlink()
    (tokens / "Python.starts.npy").unlink()
    code, text = checked(capsys, str(tokens))
    assert code == 1
    assert "C.idx: no such file" in text
    assert "Python.starts.npy: missing" in text
    (tmp_path / "empty").mkdir()
    assert checked(capsys, str(tmp_path / "empty")) == (2, f"error: {tmp_path / 'empty'}: no .idx and no .bin in this folder\n")
    assert checked(capsys, str(tokens), "--vocab-size", "0") == (2, "error: --vocab-size 0: at least 1\n")
    assert prefixes_of(tokens) == [tokens / "C", tokens / "Python"]


def rewrite_lineage(prefix: Path, column: str, row: int, by: int) -> None:
    path = prefix.with_name(prefix.name + ".lineage.parquet")
    table, known = pq.read_table(path), pq.ParquetFile(path).metadata.metadata
    values = table[column].to_numpy().copy()
    values[row] += by
    index = table.column_names.index(column)
    table = table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type))
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({b"megatron_snow": known[b"megatron_snow"]})


@pytest.mark.parametrize(
    ("column", "by", "message"),
    [
        ("token_start", 1, "is not where .starts.npy says"),
        ("tokens", 1, "is not followed by one separator"),
        ("group", 1, "is of a group that neither goes on nor is the next|is the first of a group, but no sequence begins there"),
        ("group", -1, "is of a group that neither goes on nor is the next"),
    ],
)
def test_lies_of_a_lineage(tokens: Path, column: str, by: int, message: str) -> None:
    prefix = tokens / "Python"
    assert check_lineage(IndexedDataset(prefix)) == len(Lineage(prefix))
    rewrite_lineage(prefix, column, 7, by)
    with pytest.raises(UserError, match=rf"Python\.lineage\.parquet: .* {message}"):
        check_lineage(_without_seal(prefix))


def test_a_lineage_whose_separators_are_not_in_the_bin(tokens: Path) -> None:
    prefix, lineage = tokens / "Python", Lineage(tokens / "Python")
    data = np.fromfile(tokens / "Python.bin", np.uint16)
    for number in (3, len(lineage) - 1):
        changed = data.copy()
        changed[lineage.extent(number)[1] - 1] ^= 1
        changed.tofile(tokens / "Python.bin")
        origin = lineage.origin(number)
        with pytest.raises(UserError, match=rf"{origin.path} at token {origin.token_start} is not followed by its separator"):
            check_lineage(_without_seal(prefix))


def _without_seal(prefix: Path) -> IndexedDataset:
    prefix.with_name(prefix.name + ".seal.json").unlink(missing_ok=True)
    return IndexedDataset(prefix)
