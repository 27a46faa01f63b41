"""Collecting: the order, the limits, the counts, and that workers do not matter."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.common.records import Manifest
from megatron_snow.config import Corpus, Source
from megatron_snow.corpus.collection import document_of, in_seeded_order
from megatron_snow.corpus.selection import Room
from megatron_snow.corpus.sources import Part, RawFile
from megatron_snow.corpus.stages import collect
from megatron_snow.pipeline import Execution, read_documents, shards_in


def documents_in(folder: Path) -> list[dict[str, object]]:
    return [document for shard in shards_in(folder) for document in read_documents(shard)]


def adds_up(manifest: Manifest) -> bool:
    counts = manifest.counts
    dropped = sum(count for key, count in counts.items() if key.startswith("dropped:") and key.count(":") == 1)
    return counts["documents"] == counts["kept"] + dropped


def test_everything_is_collected_without_a_limit(checkouts: Path, tmp_path: Path) -> None:
    manifest = collect(Corpus(sources=(Source("folder", str(checkouts)),)), 1, tmp_path / "out")
    documents = documents_in(tmp_path / "out")
    files = [path for path in checkouts.rglob("*.py") if path.stat().st_size]
    assert Counter(document["language"] for document in documents)["Python"] == len(files)
    assert {"Python", "C"} <= {document["language"] for document in documents}
    assert manifest.counts["kept"] == len(documents)
    assert adds_up(manifest)


@pytest.fixture(scope="module")
def limited(checkouts: Path) -> Corpus:
    """300 kB of about 2 MB, at most 60 % of it in one language and a quarter of one repository."""
    return Corpus(sources=(Source("folder", str(checkouts)),), max_bytes=300_000, max_language_share=0.6, max_repository_share=0.25)


def test_limits_hold_and_all_that_is_dropped_is_counted(limited: Corpus, tmp_path: Path) -> None:
    manifest = collect(limited, 1, tmp_path / "out")
    by_language: Counter[object] = Counter()
    by_repository: Counter[object] = Counter()
    for document in documents_in(tmp_path / "out"):
        by_language[document["language"]] += document["size"]
        by_repository[document["repository"]] += document["size"]
    assert 0 < max(by_language.values()) <= 180_000
    assert max(by_repository.values()) <= 75_000
    assert manifest.counts["kept_bytes"] == by_language.total()
    assert {"dropped:language_share", "dropped:repository_share"} <= set(manifest.counts)
    assert adds_up(manifest)


def test_result_does_not_depend_on_workers_but_on_the_seed(limited: Corpus, tmp_path: Path) -> None:
    one = collect(limited, 1, tmp_path / "one", Execution("pool", 1))
    two = collect(limited, 1, tmp_path / "two", Execution("pool", 2))
    other = collect(limited, 2, tmp_path / "other", Execution("pool", 1))
    assert one.outputs == two.outputs
    assert one.counts == two.counts
    assert one.outputs != other.outputs


def test_second_run_does_nothing_until_a_file_changes(checkouts: Path, tmp_path: Path) -> None:
    corpus = Corpus(sources=(Source("folder", str(checkouts)),), max_bytes=300_000)
    first = collect(corpus, 1, tmp_path / "out")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    assert collect(corpus, 1, tmp_path / "out") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")} == written
    changed = checkouts / "json" / "decoder.py"
    status = changed.stat()
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert collect(corpus, 1, tmp_path / "out").outputs == first.outputs  # same bytes, so the same result


def test_languages_restrict(checkouts: Path, tmp_path: Path) -> None:
    manifest = collect(Corpus(sources=(Source("folder", str(checkouts)),), languages=("C",)), 1, tmp_path / "out")
    assert {document["language"] for document in documents_in(tmp_path / "out")} == {"C"}
    assert manifest.counts["dropped:other_language:Python"] > 50


def test_first_repositories_come_first() -> None:
    parts = [Part("files", name, "", 1) for name in "abcdefgh"]
    order = [part.repository for part in in_seeded_order(parts, 1, ["g", "missing", "b"])]
    assert order[:2] == ["g", "b"]
    assert order[2:] == [part.repository for part in in_seeded_order(reversed(parts), 1, ()) if part.repository not in "gb"]
    assert order != sorted(order)


def test_empty_source_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in" / "empty").mkdir(parents=True)
    with pytest.raises(UserError, match="nothing to read"):
        collect(Corpus(sources=(Source("folder", str(tmp_path / "in")),)), 1, tmp_path / "out")


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"x = 1\n", ""),
        (b"x\0", "binary"),
        (b"# \xe4\xe4\xe4\xe4", "encoding"),
        (b" \n\n", "empty"),
        ("\ud800", "encoding"),
        ("nul\0", "encoding"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "lfs_pointer"),
    ],
)
def test_why_a_file_is_dropped(data: bytes | str, rule: str) -> None:
    document, reason, _ = document_of(RawFile("r", "a.py", "here", data))
    assert reason == rule
    assert (document is None) == bool(rule)


def test_language_that_the_source_gives_is_kept_where_linguist_knows_it() -> None:
    for given, expected in (("TypeScript", "TypeScript"), ("typescript-ish", "Python"), ("", "Python")):
        document, _, _ = document_of(RawFile("r", "a.py", "here", "x = 1\n", language=given))
        assert document is not None
        assert document["language"] == expected


def test_room_takes_until_full() -> None:
    room = Room(100, 60)
    assert [room.rule_against("A", 50), room.rule_against("A", 20), room.rule_against("B", 60)] == ["", "language_share", ""]
    assert (room.left, room.rule_against("C", 1)) == (0, "max_bytes")
    assert room.full_languages() == ["B"]
