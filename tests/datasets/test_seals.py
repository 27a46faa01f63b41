"""Seals: the checksums beside a dataset name every byte that changed, and where."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from megatron_snow.common import digests, native
from megatron_snow.common.errors import UserError
from megatron_snow.datasets import IndexedWriter, seals


def write(prefix: Path, tokens: np.ndarray) -> None:
    with IndexedWriter(prefix, "uint16") as writer:
        for document in np.array_split(tokens, 7):
            writer.append(document)
            writer.end_document()


def by_definition(data: bytes) -> list[str]:
    """Digest of each 8 MB: BLAKE2b-128 over the BLAKE2b-128 of its 1 MB pieces."""

    def digest(part: bytes) -> bytes:
        return hashlib.blake2b(part, digest_size=16).digest()

    mega = 1 << 20
    blocks = [data[first : first + 8 * mega] for first in range(0, len(data), 8 * mega)]
    return [digest(b"".join(digest(block[at : at + mega]) for at in range(0, len(block), mega))).hex() for block in blocks]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 MB of tokens: two whole blocks and a piece of one."""
    prefix = tmp_path_factory.mktemp("seal") / "C++.v2"
    write(prefix, np.random.default_rng(1).integers(0, 65_000, 10_000_001).astype(np.uint16))
    return prefix


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 8 << 20, (16 << 20) + 5])
@pytest.mark.parametrize("compiled", [True, False])
def test_checksums_are_what_they_are_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, compiled: bool) -> None:
    if not compiled:
        monkeypatch.setattr(digests, "load_native", lambda: (None, "not built"))
    elif native.load_native()[0] is None:
        pytest.skip("csrc/data is not built")
    data = np.random.default_rng(size).bytes(size)
    (tmp_path / "x").write_bytes(data)
    assert list(seals.checksums_of(tmp_path / "x").blocks) == by_definition(data)


def test_what_is_sealed(large: Path) -> None:
    (large.parent / "C++.v2.starts.npy").write_bytes(b"starts")
    made = seals.seal(large, workers=2)
    assert set(made) == {".bin", ".idx", ".starts.npy"}
    assert made == seals.seal(large) == seals.read_seal(large)
    assert len(made[".bin"].blocks) == 3
    assert made[".bin"].bytes == 20_000_002


def test_no_seal_and_none_without_a_dataset(tmp_path: Path) -> None:
    assert seals.read_seal(tmp_path / "x") is None
    with pytest.raises(FileNotFoundError):
        seals.seal(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("at", "where"), [(0, "bytes 0 to 8388608"), (9_000_000, "bytes 8388608 to 16777216"), (20_000_001, "bytes 16777216 to 20000002")]
)
def test_damage_has_a_place(large: Path, at: int, where: str) -> None:
    known, path = seals.seal(large), large.with_name("C++.v2.bin")
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(UserError, match=rf"C\+\+\.v2\.bin: {where} not what was sealed"):
            seals.check_whole(large, ".bin", known, workers=2)
        path.write_bytes(whole[:at])
        with pytest.raises(UserError, match=rf"C\+\+\.v2\.bin: {at} bytes, 20000002 bytes when it was sealed"):
            seals.check_sizes(large, known)
    finally:
        path.write_bytes(whole)
    seals.check_whole(large, ".bin", known)
    seals.check_sizes(large, known)


def test_ranges_of_blocks() -> None:
    block = seals.BLOCK
    assert seals.describe_blocks([0, 1, 3], 4 * block - 7) == f"bytes 0 to {2 * block}, {3 * block} to {4 * block - 7}"
    assert seals.describe_blocks(range(0, 20, 2), 99 * block).endswith("and 5 other ranges")


def test_any_byte_of_a_seal_that_changes_is_seen(tmp_path: Path) -> None:
    """Refused, or the same seal (white space); never another one in silence."""
    write(tmp_path / "x", np.arange(100, dtype=np.uint16))
    known, path = seals.seal(tmp_path / "x"), tmp_path / "x.seal.json"
    whole, refused = path.read_bytes(), 0
    for offset in range(len(whole)):
        for flip in (1, 4, 32, 128):
            path.write_bytes(whole[:offset] + bytes([whole[offset] ^ flip]) + whole[offset + 1 :])
            try:
                found = seals.read_seal(tmp_path / "x")
            except UserError as error:
                found, refused = (known, refused + 1) if "x.seal.json" in str(error) else (None, refused)
            assert found == known
    assert refused > 3 * len(whole)  # of 4


def test_a_seal_of_another_version(tmp_path: Path) -> None:
    write(tmp_path / "x", np.arange(100, dtype=np.uint16))
    seals.seal(tmp_path / "x")
    path = tmp_path / "x.seal.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))
    with pytest.raises(UserError, match=r"x\.seal\.json: version 2"):
        seals.read_seal(tmp_path / "x")


def test_a_stage_need_not_digest_again(tmp_path: Path) -> None:
    write(tmp_path / "x", np.arange(100, dtype=np.uint16))
    plain = seals.sealed_digest(tmp_path / "x.bin")
    known = seals.seal(tmp_path / "x")
    assert seals.sealed_digest(tmp_path / "x.bin") == known[".bin"].digest != plain
    (tmp_path / "x.lineage.parquet").write_bytes(b"made later")
    assert seals.sealed_digest(tmp_path / "x.lineage.parquet") == hashlib.blake2b(b"made later", digest_size=16).hexdigest()


def test_a_companion_is_checked_by_who_opens_it(tmp_path: Path) -> None:
    write(tmp_path / "x", np.arange(100, dtype=np.uint16))
    starts = tmp_path / "x.starts.npy"
    np.save(starts, np.arange(7))
    seals.check_companion(tmp_path / "x", ".starts.npy")  # nothing to hold it against
    seals.seal(tmp_path / "x")
    seals.check_companion(tmp_path / "x", ".starts.npy")
    seals.check_companion(tmp_path / "x", ".lineage.parquet")  # not there when it was sealed
    np.save(starts, np.arange(1, 8))
    with pytest.raises(UserError, match=r"x\.starts\.npy: bytes 0 to 184 not what was sealed"):
        seals.check_companion(tmp_path / "x", ".starts.npy")
