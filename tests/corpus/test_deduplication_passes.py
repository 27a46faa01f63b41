"""The survivor rule, the files between passes, and that their cutting does not matter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import megatron_snow.common.digests as digests_module
import megatron_snow.corpus.shingles as shingles_module
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import read_manifest
from megatron_snow.config import Corpus
from megatron_snow.corpus.deduplication import candidates, stage, verifying
from megatron_snow.corpus.deduplication.ranks import COLUMNS, ranks_of
from megatron_snow.corpus.deduplication.signed import SUFFIX, Shape, Signed
from megatron_snow.corpus.stages import deduplicate
from megatron_snow.pipeline import DOCUMENT, Execution
from tests.corpus.near_copies import edited, near_copies, survivors

LAST = {"licence_kind": "copyleft", "licence": "", "stars": 0, "forks": 0, "date": None}


@pytest.fixture(scope="module")
def texts(checkouts: Path) -> list[str]:
    return near_copies(checkouts, 40)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"licence_kind": "permissive"}, {"licence_kind": "unlicensed", "licence": "MIT", "stars": 9, "forks": 9, "date": "2001"}),
        ({"licence_kind": "unlicensed"}, {"licence_kind": "unknown", "licence": "MIT", "stars": 9, "forks": 9, "date": "2001"}),
        ({"licence_kind": "unknown"}, {"licence_kind": "copyleft", "licence": "GPL", "stars": 9, "forks": 9, "date": "2001"}),
        ({"licence_kind": None}, {"licence_kind": "copyleft", "licence": "GPL", "stars": 9, "forks": 9, "date": "2001"}),
        ({"licence_kind": None, "licence": "MIT"}, {"licence_kind": None, "licence": None, "stars": 9, "forks": 9, "date": "2001"}),
        ({"stars": 2}, {"stars": 1, "forks": 9, "date": "2001"}),
        ({"stars": 1}, {"stars": None, "forks": 9, "date": "2001"}),
        ({"forks": 2}, {"forks": 1, "date": "2001"}),
        ({"date": "2020-05-01T10:00:00Z"}, {"date": "2020-05-01T10:00:01Z"}),
        ({"date": "2020-05-01"}, {"date": "2020-05-01T00:00:01Z"}),
        ({"date": "2020-05-01"}, {"date": ""}),
    ],
)
def test_the_rank_by_each_rule(better: dict[str, Any], worse: dict[str, Any]) -> None:
    names = {"repository": "a/b", "path": "a.py", "provenance": "test"}
    rows = [{**names, **LAST, **better}, {**names, **LAST, **worse}]
    first, second = ranks_of(pa.Table.from_pylist(rows, DOCUMENT).select(list(COLUMNS))).T.tolist()
    assert first < second


@pytest.mark.parametrize("order", [1, -1])
def test_the_first_by_rank_stays(order: int, texts: list[str], tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    """Of equal and of similar documents, whichever comes first."""
    rows = [
        {"content": texts[0], "repository": "second", "stars": 2},
        {"content": texts[0], "repository": "third", "stars": 1},
        {"content": edited(texts[0], 0.01, 1), "repository": "first", "stars": 3},
    ]
    deduplicate(Corpus(), [write_shard(tmp_path / "in" / "s.parquet", *rows[::order])], tmp_path / "out")
    assert [row["repository"] for row in survivors(tmp_path / "out")] == ["first"]


def test_of_two_copies_of_a_repository_one_stays_whole(texts: list[str], tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    rows = [{"content": text, "repository": name, "path": f"{n}"} for name in ("a/fork", "b/fork") for n, text in enumerate(texts[:40])]
    deduplicate(Corpus(), [write_shard(tmp_path / "in" / "s.parquet", *rows)], tmp_path / "out")
    assert len({row["repository"] for row in survivors(tmp_path / "out")}) == 1


def documents(texts: list[str]) -> list[dict[str, Any]]:
    rows = [{"content": text, "repository": f"r{n % 7}", "path": f"{n}", "stars": n % 5} for n, text in enumerate(texts)]
    return rows + [{**row, "repository": "copy"} for row in rows[::6]]


def test_bytes_do_not_depend_on_partitions_or_workers(texts: list[str], tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    """40 kB: many partitions of digests and keys, many bins, and components in several blocks."""
    rows = documents(texts)
    shards = [write_shard(tmp_path / "in" / f"{n}.parquet", *rows[n::3]) for n in range(3)]
    outputs = []
    for number, (memory, execution) in enumerate(((2_000_000_000, Execution()), (40_000, Execution()), (300_000, Execution("pool", 2)))):
        out = tmp_path / str(number)
        outputs.append(deduplicate(Corpus(memory_bytes=memory), shards, out, execution).outputs)
        sizes = {name: len(list((out / "work" / name).glob("*.npy"))) for name in ("exact-pairs", "candidates-pairs", "near-pairs")}
        assert sizes == {0: {"exact-pairs": 1, "candidates-pairs": 1, "near-pairs": 1}}.get(number, sizes)
        assert number != 1 or min(sizes.values()) > 1
    assert outputs[0] == outputs[1] == outputs[2]
    assert {name.partition(".")[2] for name in outputs[0]} == {"parquet", "rejects.jsonl", "duplicates.jsonl", "signed.npy"}


def test_the_forms_without_the_library_give_the_same_bytes(
    texts: list[str], tmp_path: Path, write_shard: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = write_shard(tmp_path / "in" / "s.parquet", *documents(texts[:6] + texts[40:58]))
    corpus = Corpus(memory_bytes=100_000)
    compiled = deduplicate(corpus, [shard], tmp_path / "compiled").outputs
    for module in (digests_module, shingles_module, candidates, verifying):
        monkeypatch.setattr(module, "load_native", lambda: (None, "switched off"))
    assert deduplicate(corpus, [shard], tmp_path / "python").outputs == compiled


def test_a_large_bucket_is_compared_within_a_window(texts: list[str], tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    count = 3 * verifying.WINDOW
    rows = [{"content": f"{texts[0]}\nversion = {n}\n", "path": f"{n}"} for n in range(count)]
    deduplicate(Corpus(), [write_shard(tmp_path / "in" / "s.parquet", *rows)], tmp_path / "out")
    manifest = read_manifest(tmp_path / "out" / "work" / "near-pairs")
    assert len(survivors(tmp_path / "out")) == 1
    assert manifest is not None
    assert manifest.counts["compared"] == count - 1


@pytest.mark.parametrize("rows", [[0, 2], [1, 0, 2], [0, 1], [0, 1, 2, 3]])
def test_a_shard_that_changes_during_a_run_is_named(
    rows: list[int], texts: list[str], tmp_path: Path, write_shard: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it was signed, before it is read again: what was found out would be said of other documents."""
    documents = [{"content": text} for text in texts[:4]]
    shard, joined = write_shard(tmp_path / "in" / "s.parquet", *documents[:3]), stage.join_pairs

    def join_and_change(*arguments: Any) -> Any:
        write_shard(shard, *(documents[row] for row in rows))
        return joined(*arguments)

    monkeypatch.setattr(stage, "join_pairs", join_and_change)
    with pytest.raises(UserError, match=r"s\.parquet: changed since it was signed; run deduplicate-corpus again"):
        deduplicate(Corpus(), [shard], tmp_path / "out")
    assert not (tmp_path / "out" / "s.parquet").exists()


def test_a_signed_file_comes_back(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    shape, count = Shape(5, 3, 2), 50
    digests = draw.integers(0, 256, (count, 16), np.uint8)
    ranks, keys = draw.integers(0, 1 << 63, (4, count), np.uint64), draw.integers(0, 1 << 63, (count, 3), np.uint64)
    runs = draw.integers(0, 3, count)
    Signed.of(shape, digests, ranks, runs, keys).write(tmp_path / "a.npy")
    signed = Signed.read(tmp_path / "a.npy")
    hashed = np.flatnonzero(runs)
    assert signed.shape == shape
    assert [row.tobytes() for row in signed.by_row()[:2].T.astype(">u8")] == [row.tobytes() for row in digests]
    np.testing.assert_array_equal(signed.by_row()[2:6], ranks)
    np.testing.assert_array_equal(signed.keys_by_row(hashed), np.sort(keys[hashed], 1))
    keep = draw.random(count) < 0.5
    expected = Signed.of(shape, digests[keep], ranks[:, keep], runs[keep], keys[keep])
    kept = signed.kept(keep)
    np.testing.assert_array_equal(kept.facts, expected.facts)
    np.testing.assert_array_equal(kept.keys, expected.keys)
    np.testing.assert_array_equal(kept.rows, expected.rows)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"not numbers"])
def test_a_damaged_signed_file_is_named(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"a{SUFFIX}"
    path.write_bytes(damage)
    with pytest.raises(UserError, match=r"a\.signed\.npy"):
        Signed.read(path)
