"""Groups lie together in a seeded order, nothing is lost, and what is held out is apart."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from megatron_snow.config import Corpus, Source
from megatron_snow.corpus.stages import collect, decontaminate, deduplicate, filter_documents, group
from megatron_snow.pipeline import Execution, read_documents, shards_in

Rows = list[dict[str, Any]]


def rows_of(shards: list[Path]) -> Rows:
    return [row for shard in shards for row in read_documents(shard)]


@pytest.fixture(scope="module")
def collected(checkouts: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("collected")
    collect(Corpus(sources=(Source("folder", str(checkouts)),)), 1, folder)
    return shards_in(folder)


def test_rows_of_a_group_are_consecutive_and_nothing_is_lost(collected: list[Path], tmp_path: Path) -> None:
    manifest = group(Corpus(held_out_share=0.1), 1, collected, tmp_path / "grouped", tmp_path / "held_out")
    training, held_out = rows_of(shards_in(tmp_path / "grouped")), rows_of(shards_in(tmp_path / "held_out"))
    assert Counter(row["provenance"] for row in training + held_out) == Counter(row["provenance"] for row in rows_of(collected))
    assert manifest.counts["kept"] == len(training)
    for shard in shards_in(tmp_path / "grouped"):
        rows = rows_of([shard])
        runs = [name for name, _ in groupby(row["group"] for row in rows)]
        assert len(runs) == len(set(runs))
        assert {row["language"].replace(" ", "-") for row in rows} == {shard.stem.rpartition("-")[0]}
        assert all(row["group"] == f"{row['language']}/{row['repository']}" for row in rows)


def test_file_order_in_a_group_is_seeded_and_random(collected: list[Path], tmp_path: Path) -> None:
    paths = {}
    for seed in (1, 2):
        group(Corpus(held_out_share=0.0), seed, collected, tmp_path / f"{seed}", tmp_path / f"held-{seed}")
        rows = rows_of(shards_in(tmp_path / f"{seed}"))
        paths[seed] = [row["path"] for row in rows if row["group"] == "Python/asyncio"]
    assert sorted(paths[1]) == sorted(paths[2])
    assert paths[1] != paths[2]
    assert paths[1] != sorted(paths[1])


def test_result_does_not_depend_on_the_shards_or_workers(collected: list[Path], tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    rows = rows_of(collected)
    random.Random(3).shuffle(rows)
    shuffled = [write_shard(tmp_path / "in" / f"{n}.parquet", *rows[n::3]) for n in range(3)]
    one = group(Corpus(held_out_share=0.1), 1, collected, tmp_path / "a", tmp_path / "a-held", Execution("pool", 1))
    two = group(Corpus(held_out_share=0.1), 1, shuffled, tmp_path / "b", tmp_path / "b-held", Execution("pool", 2))
    assert one.outputs == two.outputs


@pytest.mark.parametrize(("grouping", "datasets"), [("repo", {"all"}), ("file", None)])
def test_other_groupings_hold_out_the_same(collected: list[Path], tmp_path: Path, grouping: Any, datasets: set[str] | None) -> None:
    group(Corpus(held_out_share=0.1), 1, collected, tmp_path / "a", tmp_path / "a-held")
    group(Corpus(held_out_share=0.1, grouping=grouping), 1, collected, tmp_path / "b", tmp_path / "b-held")
    assert [row["id"] for row in rows_of(shards_in(tmp_path / "a-held"))] == [row["id"] for row in rows_of(shards_in(tmp_path / "b-held"))]
    rows = rows_of(shards_in(tmp_path / "b"))
    if grouping == "repo":
        assert {path.stem.rpartition("-")[0] for path in shards_in(tmp_path / "b")} == datasets
        languages: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            languages[row["group"]].add(row["language"])
        assert languages["numpy-headers"] >= {"C"}
        assert all(row["group"] == row["repository"] for row in rows)
    else:
        assert len({row["group"] for row in rows}) == len(rows)


def test_empty_corpus_passes_every_stage(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(tmp_path / "in" / "s.parquet", {"content": "=" * 2000})
    filter_documents(Corpus(), [shard], tmp_path / "filtered")
    deduplicate(Corpus(), shards_in(tmp_path / "filtered"), tmp_path / "deduplicated")
    decontaminate(Corpus(), shards_in(tmp_path / "deduplicated"), tmp_path / "clean")
    manifest = group(Corpus(), 1, shards_in(tmp_path / "clean"), tmp_path / "grouped", tmp_path / "held_out")
    assert manifest.outputs == {}
