"""The shuffle's parts: files of runs, cuts, and memory that a corpus of many times its bound does not exceed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.corpus.grouping.cuts import Cut, Router, cuts_of, even_cuts
from megatron_snow.corpus.grouping.runs import RunsWriter, read_runs
from megatron_snow.pipeline import SHARD_BYTES


@pytest.mark.parametrize(("memory", "parts"), [(10**9, 1), (1, 20)])
def test_runs_are_found_by_output(tmp_path: Path, memory: int, parts: int) -> None:
    rng = np.random.default_rng(1)
    tables = [pa.table({"text": [f"{n}-{k}" * 50 for k in range(7)], "n": [n] * 7}) for n in range(20)]
    outputs = [rng.choice([0, 2, 3, 6], 7) for _ in tables]
    with RunsWriter(tmp_path / "a.runs", 8, memory) as writer:
        for table, numbers in zip(tables, outputs):
            writer.write(table, numbers)
    for output in range(8):
        found = list(read_runs(tmp_path / "a.runs", output))
        assert len(found) <= parts
        expected = [text for table, to in zip(tables, outputs) for text in table.filter(pa.array(to == output))["text"].to_pylist()]
        assert [text for table in found for text in table["text"].to_pylist()] == expected
    assert list(read_runs(tmp_path / "a.runs", 1)) == []


def test_damaged_runs_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.runs"
    with RunsWriter(path, 8, 10**9) as writer:
        writer.write(pa.table({"text": [f"{n}" * 50 for n in range(80)]}), np.arange(80) % 8)
    whole = path.read_bytes()
    damaged = [
        b"",
        whole[:10],
        whole[:-1],
        whole[100:],
        *(whole[:place] + b"\xff" * 8 + whole[place + 8 :] for place in (0, 8, 16, len(whole) - 88)),
    ]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"a\.runs: damaged \(.+\); delete it"):
            for output in range(8):
                list(read_runs(path, output))


def test_no_documents_make_an_empty_file_of_runs(tmp_path: Path) -> None:
    with RunsWriter(tmp_path / "a.runs", 3, 10):
        pass
    assert list(read_runs(tmp_path / "a.runs", 2)) == []


@pytest.mark.parametrize(
    ("sizes", "cuts"),
    [
        ([SHARD_BYTES], [(0, 1)]),  # of a shard's size: not large
        ([SHARD_BYTES + 1], [(0, 2)]),
        ([5, SHARD_BYTES + 1, 5, 5], [(0, 1), (1, 2), (2, 1)]),  # a large group has shards of its own
        ([SHARD_BYTES - 1, 1, 5], [(0, 1), (2, 1)]),  # full at SHARD_BYTES
        ([SHARD_BYTES - 1, 9, 5], [(0, 1), (2, 1)]),  # a group is not cut for it
        ([3 * SHARD_BYTES, 2 * SHARD_BYTES + 1], [(0, 3), (1, 3)]),
        ([], []),
    ],
)
def test_cuts(sizes: list[int], cuts: list[tuple[int, int]]) -> None:
    orders = np.arange(len(sizes), dtype=np.uint64)
    assert cuts_of(orders, np.array(sizes, np.int64)) == [Cut(*cut) for cut in cuts]
    shuffled = np.random.default_rng(1).permutation(len(sizes))
    assert cuts_of(orders[shuffled], np.array(sizes, np.int64)[shuffled]) == [Cut(*cut) for cut in cuts]


def test_the_router_names_outputs_and_finds_them() -> None:
    router = Router({"training/B": [(10, 1), (20, 3), (30, 1)], "training/A": [(2**63, 1)]})
    assert router.names == ["training/A-00000", *(f"training/B-{number:05d}" for number in range(5))]
    assert [router.output_of("training/B", order) for order in (10, 19, 20, 30, 2**64 - 1)] == [(1, 1), (1, 1), (2, 3), (5, 1), (5, 1)]


def test_names_of_very_many_shards_sort_as_numbers() -> None:
    names = Router({"training/A": [(0, 100_001)]}).names
    assert names == sorted(names)


def test_even_cuts_have_documents_for_each_shard() -> None:
    assert even_cuts(10 * SHARD_BYTES, 10_000) == [Cut(2**64 * number // 10) for number in range(10)]
    assert even_cuts(10 * SHARD_BYTES, 10) == [Cut(0)]


_GIANT = """
import sys, sysconfig
from pathlib import Path
import pyarrow as pa
from megatron_snow.config import Corpus
from megatron_snow.corpus.grouping import group
from megatron_snow.pipeline import ShardWriter, shards_in

root = Path(sys.argv[1])
(root / "in").mkdir()
texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*/*.py"))[:1500]]
size = 0
for shard in range(12):
    with ShardWriter(root / "in" / f"{shard:02d}.parquet") as writer:
        for number, text in enumerate(texts * 4):  # a Debian standard library has no tests
            if size > (shard + 1) * 20_000_000:
                break
            text = f"# {shard}\\n{text}"
            row = {"id": f"{shard}-{number}", "repository": "giant", "path": f"{shard}/{number}.py", "language": "Python"}
            writer.write({**row, "size": len(text.encode()), "content": text})
            size += len(text.encode())
del texts
before = pa.default_memory_pool().bytes_allocated()
manifest = group(Corpus(memory_bytes=10_000_000, file_order=sys.argv[2]), 1, shards_in(root / "in"), root / "out", root / "held")
print(size, pa.default_memory_pool().max_memory() - before, len(manifest.outputs))
"""


@pytest.mark.parametrize("file_order", ["random", "imports"])
def test_memory_is_bounded_by_the_setting_and_not_by_a_giant_group(tmp_path: Path, file_order: str) -> None:
    """A group of 240 MB, memory_bytes of 10 MB: a batch, and one shard five times over (read, joined, sorted, encoded) at most."""
    run = subprocess.run([sys.executable, "-c", _GIANT, str(tmp_path), file_order], capture_output=True, text=True, check=True)
    size, peak, shards = map(int, run.stdout.split())
    assert size > 240_000_000
    assert shards >= size // SHARD_BYTES
    assert peak < 10_000_000 + 5 * SHARD_BYTES
