"""The .bin/.idx format: what is written is read, and every lie of an .idx is named."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_snow.common.errors import UserError
from megatron_snow.datasets import IndexedDataset, IndexedWriter, token_dtype


def write(prefix: Path, documents: list[list[int]], dtype: str = "uint16") -> None:
    with IndexedWriter(prefix, dtype) as writer:
        for document in documents:
            writer.append(document)
            writer.end_document()


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    write(tmp_path / "C++.v2", [[1, 2, 3], [4], [5, 6]])  # a name with dots keeps them
    return tmp_path / "C++.v2"


@settings(max_examples=30)
@given(documents=st.lists(st.lists(st.integers(0, 65_499), max_size=20), max_size=12), dtype=st.sampled_from(["uint16", "int32"]))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]], dtype: str) -> None:
    prefix = tmp_path_factory.mktemp("indexed") / "x"
    write(prefix, documents, dtype)
    dataset = IndexedDataset(prefix)
    assert dataset.dtype == np.dtype(dtype)
    assert [dataset[i].tolist() for i in range(len(dataset))] == [document for document in documents if document]
    assert dataset.num_tokens == sum(map(len, documents))
    assert dataset.document_ends.tolist() == np.cumsum([len(document) for document in documents], dtype=int).tolist()


def test_a_document_may_be_streamed(tmp_path: Path) -> None:
    with IndexedWriter(tmp_path / "x", "int32") as writer:
        writer.append([1, 2])
        writer.append(np.array([3], np.int64))
        writer.append([])
    assert IndexedDataset(tmp_path / "x")[0].tolist() == [1, 2, 3]


def test_dtype_of_a_vocabulary() -> None:
    assert [token_dtype(size).name for size in (8192, 65_499, 65_500, 128_256)] == ["uint16", "uint16", "int32", "int32"]


@pytest.mark.parametrize("ids", [[65_536], [-1], np.array([1, 70_000])])
def test_ids_that_do_not_fit_are_refused(tmp_path: Path, ids: list[int]) -> None:
    with pytest.raises(UserError, match=r"x\.bin: token ids .* do not fit uint16"), IndexedWriter(tmp_path / "x", "uint16") as writer:
        writer.append(ids)
    assert not (tmp_path / "x.idx").exists()


def test_reading_outside(prefix: Path) -> None:
    dataset = IndexedDataset(prefix)
    assert dataset.read(2, 3).tolist() == [3, 4, 5]
    for first, count in ((-1, 2), (5, 2), (0, 7)):
        with pytest.raises(IndexError, match="of 6"):
            dataset.read(first, count)


def _set(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:offset] + value + data[offset + len(value) :]


# The header is 34 bytes: magic 9, version 8, dtype 1, counts 8 + 8; then int32[3] lengths, int64[3] pointers, int64[4] documents.
LIES = {
    "magic": (_set(0, b"TNTIDX"), "not an index of Megatron"),
    "empty": (lambda data: b"", "not an index of Megatron"),
    "cut header": (lambda data: data[:20], "20 bytes, cut inside its header"),
    "version": (_set(9, struct.pack("<Q", 7)), "version 7"),
    "dtype": (_set(17, b"\x06"), "dtype code 6"),
    "wrong dtype": (_set(17, b"\x04"), "starts at byte"),
    "count": (_set(18, struct.pack("<Q", 4)), "bytes where 4 sequences"),
    "huge count": (_set(18, struct.pack("<Q", 2**63)), "bytes where"),
    "cut": (lambda data: data[:-1], "bytes where 3 sequences"),
    "negative length": (_set(34, struct.pack("<i", -3)), "sequence 0 has the length -3"),
    "long length": (_set(34, struct.pack("<i", 30)), "sequence 1 starts at byte 6"),
    "last length": (_set(42, struct.pack("<i", 3)), "its sequences take 14 bytes, the .bin has 12"),
    "pointer": (_set(46 + 8, struct.pack("<q", 8)), "sequence 1 starts at byte 8"),
    "first document": (_set(70, struct.pack("<q", 1)), "document marks do not run from 0 to 3"),
    "last document": (_set(94, struct.pack("<q", 9)), "document marks do not run from 0 to 3"),
    "unordered documents": (_set(78, struct.pack("<q", 5)), "document marks do not run from 0 to 3"),
}


@pytest.mark.parametrize("name", LIES)
def test_lies_of_an_index_are_named(prefix: Path, name: str) -> None:
    change, message = LIES[name]
    index = prefix.with_name(prefix.name + ".idx")
    index.write_bytes(change(index.read_bytes()))
    with pytest.raises(UserError, match=message) as caught:
        IndexedDataset(prefix)
    assert str(index) in str(caught.value)


def test_a_bin_that_was_cut(prefix: Path) -> None:
    tokens = prefix.with_name(prefix.name + ".bin")
    tokens.write_bytes(tokens.read_bytes()[:-2])
    with pytest.raises(UserError, match=r"its sequences take 12 bytes, the \.bin has 10"):
        IndexedDataset(prefix)
    tokens.unlink()
    with pytest.raises(UserError, match=r"C\+\+\.v2\.bin: no such file"):
        IndexedDataset(prefix)


def test_mutated_indices_never_crash(prefix: Path) -> None:
    """Any byte changed to any value: refused, or read within bounds."""
    index = prefix.with_name(prefix.name + ".idx")
    whole = index.read_bytes()
    refused = 0
    for offset in range(len(whole)):
        for value in (0, 1, 127, 128, 255):
            index.write_bytes(whole[:offset] + bytes([value]) + whole[offset + 1 :])
            try:
                dataset = IndexedDataset(prefix)
            except UserError:
                refused += 1
            else:
                assert sum(len(dataset[i]) for i in range(len(dataset))) == dataset.num_tokens
    assert refused > 300
