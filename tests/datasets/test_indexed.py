"""The .bin/.idx format: what is written is read, and every lie of an .idx is named."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_snow.common.errors import UserError
from megatron_snow.datasets import IndexedDataset, IndexedWriter, token_dtype
from megatron_snow.datasets.seals import seal


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
    "dtype": (_set(17, b"\x09"), "dtype code 9"),
    "wrong dtype": (_set(17, b"\x04"), "starts at byte"),
    "old format": (_set(0, b"TNTIDX\0\0"), r"old lazy or cached format \(TNTIDX\)"),
    "big-endian": (_set(9, struct.pack(">Q", 1)), "big-endian"),
    "float tokens": (_set(17, b"\x07"), r"its tokens are float32 \(dtype code 7\)"),
    "multimodal": (lambda data: data + b"\0\1\0", "a multimodal index"),
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


def test_lies_far_into_a_long_index(tmp_path: Path) -> None:
    """Over 2^18 sequences, which are checked by piece: the first of a piece, the last, one within; lengths and marks too."""
    count = 300_000
    with IndexedWriter(tmp_path / "x", "uint16") as writer:
        writer.append_sequences(np.zeros(count, np.uint16), np.ones(count, np.int32))
    dataset, index = IndexedDataset(tmp_path / "x"), tmp_path / "x.idx"
    assert dataset.document_ends.tolist() == list(range(1, count + 1))
    whole, pointers, marks = index.read_bytes(), 34 + 4 * count, 34 + 12 * count
    for number in (1, 2**18 - 1, 2**18, 2**18 + 1, count - 1):
        for offset, message in (
            (34 + 4 * number + 3, "has the length"),
            (pointers + 8 * number, "starts at byte"),
            (marks + 8 * number + 7, "marks"),
        ):
            index.write_bytes(_set(offset, b"\xff")(whole))
            with pytest.raises(UserError, match=message) as caught:
                IndexedDataset(tmp_path / "x")
            assert message == "marks" or f"sequence {number} " in str(caught.value)


def test_empty_documents_have_no_tokens(tmp_path: Path) -> None:
    write(tmp_path / "x", [[], [1, 2], [], [], [3], []])
    dataset = IndexedDataset(tmp_path / "x")
    assert (len(dataset), dataset.num_tokens, dataset.document_ends.tolist()) == (2, 3, [0, 2, 2, 2, 3, 3])
    write(tmp_path / "none", [[], []])
    none = IndexedDataset(tmp_path / "none")
    assert (len(none), none.num_tokens, none.document_ends.tolist(), none.read(0, 0).tolist()) == (0, 0, [0, 0], [])


def test_a_document_of_100_megabytes(tmp_path: Path) -> None:
    tokens = np.arange(50_000_000, dtype=np.uint32).astype(np.uint16)
    write(tmp_path / "x", [[1], tokens, [2]])  # type: ignore[list-item]
    dataset = IndexedDataset(tmp_path / "x")
    assert np.array_equal(dataset[1], tokens)
    assert dataset.read(50_000_000, 2).tolist() == [int(tokens[-1]), 2]


@pytest.mark.parametrize("name", ["x.bin", "x.idx"])
def test_a_dataset_is_named_without_its_ending(tmp_path: Path, name: str) -> None:
    write(tmp_path / "x", [[1]])
    with pytest.raises(UserError, match=r"no such file.*name it without its ending"):
        IndexedDataset(tmp_path / name)


def test_a_seal_tells_another_split_of_the_same_tokens(prefix: Path) -> None:
    """Structure cannot: a valid .idx of the same .bin, or of a .bin of the same size."""
    seal(prefix)
    before = [part.tolist() for part in map(IndexedDataset(prefix).__getitem__, range(3))]
    index = prefix.with_name(prefix.name + ".idx")
    write(prefix, [[1, 2], [3, 4], [5, 6]])
    with pytest.raises(UserError, match=r"C\+\+\.v2\.idx: bytes 0 to 102 not what was sealed; .* delete their old \.seal\.json"):
        IndexedDataset(prefix)
    write(prefix, before)
    assert IndexedDataset(prefix).verify()
    index.write_bytes(index.read_bytes() + b"\0")
    with pytest.raises(UserError, match="103 bytes where"):
        IndexedDataset(prefix)


def test_all_is_verified_on_demand(prefix: Path) -> None:
    assert not IndexedDataset(prefix).verify()
    prefix.with_name(prefix.name + ".starts.npy").write_bytes(b"starts")
    seal(prefix)
    dataset = IndexedDataset(prefix)
    assert dataset.verify()
    for suffix in (".bin", ".starts.npy"):
        path = prefix.with_name(prefix.name + suffix)
        whole = path.read_bytes()
        path.write_bytes(_set(3, bytes([whole[3] ^ 1]))(whole))
        with pytest.raises(UserError, match=rf"\{suffix}: bytes 0 to {len(whole)} not what was sealed"):
            IndexedDataset(prefix).verify(workers=2)  # opens: of these the size alone is asked
        path.write_bytes(whole[:-2])
        with pytest.raises(UserError, match=rf"\{suffix}: {len(whole) - 2} bytes, {len(whole)} bytes when it was sealed"):
            IndexedDataset(prefix)
        path.write_bytes(whole)


def test_what_was_checked_once_is_checked_again_when_it_changed(prefix: Path) -> None:
    """Files that lie still are checked once a process; one of another content, size or time is another."""
    index = prefix.with_name(prefix.name + ".idx")
    whole, long_ago = index.read_bytes(), time.time() - 100
    for content, settled, fine in (
        (whole, True, True),
        (LIES["pointer"][0](whole), True, False),
        (whole, False, True),
        (LIES["pointer"][0](whole), False, False),
    ):
        index.write_bytes(content)
        if settled:
            long_ago += 1
            os.utime(index, (long_ago, long_ago))
        for _ in range(2):
            with nullcontext() if fine else pytest.raises(UserError, match="starts at byte"):
                IndexedDataset(prefix)


def test_a_bin_that_is_cut_while_it_is_open(tmp_path: Path) -> None:
    """A page that is gone from under a map ends a process with SIGBUS; a read says what happened."""
    write(tmp_path / "x", [list(range(20_000))])
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom megatron_snow.datasets import IndexedDataset\n"
        "data = IndexedDataset(Path(sys.argv[1]))\nos.truncate(sys.argv[1] + '.bin', 100)\n"
        "print(data.tokens[15_000] if sys.argv[2] == 'map' else data.read(15_000, 2))"
    )
    ended = {}
    for how in ("map", "read"):
        write(tmp_path / "x", [list(range(20_000))])
        ended[how] = subprocess.run([sys.executable, "-c", script, str(tmp_path / "x"), how], capture_output=True, text=True)
    assert ended["map"].returncode == -signal.SIGBUS  # what `read` saves from
    assert ended["read"].returncode == 1
    assert "x.bin: cut from 40000 to 100 bytes while it was read" in ended["read"].stderr


def test_a_dataset_goes_to_another_process_by_name(prefix: Path) -> None:
    sent = pickle.dumps(IndexedDataset(prefix))
    assert len(sent) < 300
    assert pickle.loads(sent)[0].tolist() == [1, 2, 3]
