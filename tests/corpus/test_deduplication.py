"""Exact and near duplicates among real files, against all pairs by true Jaccard."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatron_snow.common.records import read_json_lines
from megatron_snow.config import Corpus, NearDuplicates
from megatron_snow.corpus.deduplication.candidates import find
from megatron_snow.corpus.shingles import jaccard, shingles
from megatron_snow.corpus.stages import deduplicate
from megatron_snow.pipeline import Execution, read_documents, shards_in


def survivors(folder: Path) -> list[dict[str, Any]]:
    return sorted((row for shard in shards_in(folder) for row in read_documents(shard)), key=lambda row: (row["repository"], row["path"]))


def edited(text: str, share: float, seed: int) -> str:
    """The text with that share of its lines changed."""
    lines = text.splitlines()
    for number in random.Random(seed).sample(range(len(lines)), int(share * len(lines))):
        lines[number] = f"changed_{seed}_{number} = {number}"
    return "\n".join(lines)


@pytest.fixture(scope="module")
def texts(checkouts: Path) -> list[str]:
    """80 real files of 2 kB and more, each with copies edited by 1 to 20 %."""
    originals = [path.read_text() for path in sorted(checkouts.rglob("*.py")) if path.stat().st_size > 2000][:80]
    return originals + [edited(text, share, seed) for seed, text in enumerate(originals) for share in (0.01, 0.05, 0.2)]


def test_clusters_are_those_of_all_pairs(texts: list[str], tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    """Precision 1 by construction; recall of pairs at least 0.94, that of 25 bands of 10 rows."""
    shard = write_shard(tmp_path / "in" / "s.parquet", *({"content": text, "path": f"{n:03d}"} for n, text in enumerate(texts)))
    deduplicate(Corpus(), [shard], tmp_path / "out")
    hashed = [shingles(text, 5) for text in texts]
    similar = [(a, b) for a, b in combinations(range(len(texts)), 2) if jaccard(hashed[a], hashed[b]) >= 0.7]
    parent = np.arange(len(texts))
    for a, b in similar:
        low, high = sorted((find(parent, a), find(parent, b)))
        parent[high] = low
    truth = len({find(parent, number) for number in range(len(texts))})
    kept = len(survivors(tmp_path / "out"))
    assert len(similar) > 100
    assert truth <= kept <= truth + 0.06 * (len(texts) - truth)


def test_what_was_dropped_is_listed_with_its_cluster(tmp_path: Path, write_shard: Callable[..., Path], texts: list[str]) -> None:
    shard = write_shard(
        tmp_path / "in" / "s.parquet",
        {"content": texts[0], "repository": "a/a", "licence": ""},
        {"content": texts[0], "repository": "z/z"},
        {"content": edited(texts[0], 0.01, 3), "repository": "m/m", "stars": 5},
        {"content": "something else entirely\n", "repository": "o/o"},
    )
    manifest = deduplicate(Corpus(), [shard], tmp_path / "out")
    kept = survivors(tmp_path / "out")
    assert [row["repository"] for row in kept] == ["m/m", "o/o"]
    assert manifest.counts["dropped:exact_duplicate"] == 1
    assert manifest.counts["dropped:near_duplicate:Python"] == 1
    assert all(row["cluster_id"] == row["id"] for row in kept)
    listed = list(read_json_lines(tmp_path / "out" / "s.duplicates.jsonl"))
    assert [(row["rule"], row["repository"]) for row in listed] == [("exact_duplicate", "a/a"), ("near_duplicate", "z/z")]
    assert {row["cluster_id"] for row in listed} == {kept[0]["id"]}
    assert {path.name for path in (tmp_path / "out" / "rejects").iterdir()} == {"exact_duplicate.jsonl", "near_duplicate.jsonl"}


def test_result_does_not_depend_on_order_or_workers(texts: list[str], tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    rows = [{"content": text, "path": f"{n:03d}", "licence": "MIT" if n % 3 else ""} for n, text in enumerate(texts[:120])]
    results = []
    for seed, shards, workers in ((0, 1, 1), (1, 3, 2)):
        shuffled = random.Random(seed).sample(rows, len(rows))
        folder = tmp_path / f"in-{seed}"
        files = [write_shard(folder / f"{n}.parquet", *shuffled[n::shards]) for n in range(shards)]
        deduplicate(Corpus(), files, tmp_path / f"out-{seed}", Execution("pool", workers))
        results.append(survivors(tmp_path / f"out-{seed}"))
    assert results[0] == results[1]


def test_texts_without_words_are_not_near_duplicates(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(tmp_path / "in" / "s.parquet", *({"content": text, "path": text} for text in ("...", "!!!", "", "...")))
    deduplicate(Corpus(), [shard], tmp_path / "out")
    assert sorted(row["content"] for row in survivors(tmp_path / "out")) == ["", "!!!", "..."]


def test_threshold_counts(texts: list[str], tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(tmp_path / "in" / "s.parquet", {"content": texts[0]}, {"content": edited(texts[0], 0.05, 1), "path": "b"})
    similarity = jaccard(shingles(texts[0], 5), shingles(edited(texts[0], 0.05, 1), 5))
    assert 0.7 < similarity < 0.95
    for threshold, kept in ((similarity, 1), (similarity + 1e-9, 2)):
        near = replace(NearDuplicates(), threshold=threshold, bands=50, rows=4)
        deduplicate(Corpus(near_duplicates=near), [shard], tmp_path / f"{kept}")
        assert len(survivors(tmp_path / f"{kept}")) == kept


def test_json_lines_of_others_go_in(texts: list[str], tmp_path: Path) -> None:
    """No id, other names of columns: the content decides, and the id of the survivor is the cluster's."""
    path = tmp_path / "code.jsonl"
    rows = [{"text": text, "repo": f"r{number}", "max_stars_count": number} for number, text in enumerate((*texts[:3], texts[1]))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    deduplicate(Corpus(), [path], tmp_path / "out")
    kept = survivors(tmp_path / "out")
    assert [row["repository"] for row in kept] == ["r0", "r2", "r3"]
    assert all(row["cluster_id"] == row["id"] for row in kept)


def test_ids_of_others_are_not_taken_for_digests(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shard = write_shard(
        tmp_path / "in" / "s.parquet", *({"content": text, "id": id} for text, id in (("a b", "1"), ("c d", "1"), ("a b", "2")))
    )
    deduplicate(Corpus(), [shard], tmp_path / "out")
    assert sorted(row["content"] for row in survivors(tmp_path / "out")) == ["a b", "c d"]


def test_an_empty_corpus_and_one_without_duplicates(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    empty = write_shard(tmp_path / "in" / "a.parquet")
    assert deduplicate(Corpus(), [empty], tmp_path / "out").counts.get("kept", 0) == 0
    shard = write_shard(tmp_path / "in" / "b.parquet", {"content": "one\n"}, {"content": "two\n"})
    assert deduplicate(Corpus(), [empty, shard], tmp_path / "both").counts["kept"] == 2
