"""Exact and near duplicates among real files, against all pairs by true Jaccard."""

from __future__ import annotations

import json
import random
import sysconfig
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.corpus.truth import clusters_of, pairs_of
from megatron_snow.common.records import read_json_lines
from megatron_snow.config import Corpus, NearDuplicates
from megatron_snow.corpus.shingles import jaccard, shingles
from megatron_snow.corpus.stages import deduplicate
from megatron_snow.pipeline import Execution
from tests.corpus.near_copies import edited, near_copies, survivors


@pytest.fixture(scope="module")
def texts(checkouts: Path) -> list[str]:
    return near_copies(checkouts, 80)


def test_clusters_are_those_of_all_pairs(texts: list[str], tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    """Precision 1 by construction; recall of pairs at least 0.94, that of 25 bands of 10 rows."""
    shard = write_shard(tmp_path / "in" / "s.parquet", *({"content": text, "path": f"{n:03d}"} for n, text in enumerate(texts)))
    deduplicate(Corpus(), [shard], tmp_path / "out")
    similar = pairs_of([shingles(text, 5) for text in texts], 0.7)
    truth = len(set(clusters_of(len(texts), similar)))
    kept = len(survivors(tmp_path / "out"))
    assert len(similar) > 100
    assert truth <= kept <= truth + 0.06 * (len(texts) - truth)


def test_recall_and_precision_on_real_code(tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    """All files of the standard library and of installed packages, whatever copies there are among them."""
    folders = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))][:3000]
    texts = sorted({path.read_text("utf-8", "ignore") for path in paths if path.stat().st_size < 300_000})
    shard = write_shard(tmp_path / "in" / "s.parquet", *({"content": text, "path": f"{n:05d}"} for n, text in enumerate(texts)))
    deduplicate(Corpus(), [shard], tmp_path / "out")
    clusters = {
        row["path"]: row["cluster_id"] for row in (*survivors(tmp_path / "out"), *read_json_lines(tmp_path / "out" / "s.duplicates.jsonl"))
    }
    found = [clusters[f"{n:05d}"] for n in range(len(texts))]
    pairs = pairs_of([shingles(text, 5) for text in texts], 0.7)
    truth = clusters_of(len(texts), pairs)
    assert len(texts) > 1500
    assert len(pairs) >= 40
    assert all(len({truth[n] for n in members}) == 1 for members in _members(found))
    assert sum(found[a] == found[b] for a, b in pairs) >= 0.94 * len(pairs)


def _members(clusters: list[str]) -> list[list[int]]:
    members = defaultdict(list)
    for number, cluster in enumerate(clusters):
        members[cluster].append(number)
    return list(members.values())


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
