"""New shards against an old output: what a run over both would say of the new ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.common.records import read_json, read_json_lines
from megatron_snow.config import Corpus, NearDuplicates
from megatron_snow.corpus.stages import deduplicate
from megatron_snow.pipeline import shards_in
from tests.corpus.near_copies import near_copies, survivors

FIRST = {"stars": 1_000_000_000, "licence_kind": "permissive"}  # what ranks before all others


@pytest.fixture(scope="module")
def rows(checkouts: Path) -> list[dict[str, Any]]:
    """Real files and edited copies, some of them in several repositories."""
    texts = near_copies(checkouts, 60)
    plain = [{"content": text, "repository": f"r{n % 5}", "path": f"{n:04d}", "stars": n % 3} for n, text in enumerate(texts)]
    return plain + [{**row, "repository": "copy"} for row in plain[::7]]


def shards_of(folder: Path, rows: list[dict[str, Any]], write_shard: Callable[..., Path], count: int) -> list[Path]:
    return [write_shard(folder / f"{n}.parquet", *rows[n::count]) for n in range(count)]


def test_new_shards_end_as_in_a_run_over_both(rows: list[dict[str, Any]], tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    old, new = shards_of(tmp_path / "old-in", rows[::2], write_shard, 2), rows[1::2]
    deduplicate(Corpus(), old, tmp_path / "old")
    added = shards_of(tmp_path / "new-in", new, write_shard, 3)
    manifest = deduplicate(Corpus(), added, tmp_path / "new", against=[tmp_path / "old"])
    kept = survivors(tmp_path / "new")
    before = [{**{name: row[name] for name in ("content", "repository", "path")}, **FIRST} for row in survivors(tmp_path / "old")]
    both = [write_shard(tmp_path / "both-in" / "old.parquet", *before), *added]
    deduplicate(Corpus(), both, tmp_path / "both")
    expected = [row for row in survivors(tmp_path / "both") if row["stars"] != FIRST["stars"]]
    assert [row["id"] for row in kept] == [row["id"] for row in expected]
    assert 0 < len(kept) < len(new)
    assert manifest.counts["documents"] == len(new)
    named = {row["id"] for row in (*survivors(tmp_path / "old"), *kept)}
    listed = [row for path in (tmp_path / "new").glob("*.duplicates.jsonl") for row in read_json_lines(path)]
    assert {row["cluster_id"] for row in listed} <= named


def test_nothing_old_is_signed_again_and_candidates_alone_are_read(
    rows: list[dict[str, Any]], tmp_path: Path, write_shard: Callable[..., Path]
) -> None:
    """Two old shards, of which one has nothing in common with what is new."""
    old = [write_shard(tmp_path / "old-in" / f"{name}.parquet", *part) for name, part in (("far", rows[50:60]), ("near", rows[:10]))]
    deduplicate(Corpus(), old, tmp_path / "old")
    new = write_shard(tmp_path / "new-in" / "far.parquet", *({**row, "repository": "new"} for row in rows[60:62]))
    deduplicate(Corpus(), [new], tmp_path / "new", against=[tmp_path / "old"])
    work = tmp_path / "new" / "work"
    assert [path.name for path in (work / "signatures").glob("*.npy")] == ["far.signed.npy"]
    counts = {name: read_json(work / "sets" / f"{name}.record.json")["counts"]["candidates"] for name in ("old-0-far", "old-1-near", "far")}
    assert counts == {"old-0-far": 0, "old-1-near": 1, "far": 2}
    assert survivors(tmp_path / "new") == []


def test_a_third_corpus_against_the_first_two(rows: list[dict[str, Any]], tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    parts = [rows[n::3] for n in range(3)]
    folders: list[Path] = []
    for number, part in enumerate(parts):
        shards = shards_of(tmp_path / f"in{number}", part, write_shard, 1)
        deduplicate(Corpus(), shards, tmp_path / f"out{number}", against=folders)
        folders.append(tmp_path / f"out{number}")
    everything = [row for folder in folders for row in survivors(folder)]
    assert len({row["id"] for row in everything}) == len(everything)
    with pytest.raises(UserError, match="two inputs are called 0"):  # the outputs of several runs together: give them other names
        deduplicate(Corpus(), [path for folder in folders for path in shards_in(folder)], tmp_path / "again")


def test_what_does_not_compare_is_refused(rows: list[dict[str, Any]], tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    shards = shards_of(tmp_path / "in", rows[:5], write_shard, 1)
    deduplicate(Corpus(), shards, tmp_path / "old")
    with pytest.raises(UserError, match=r"--against .*in: not the output of deduplicate-corpus"):
        deduplicate(Corpus(), shards, tmp_path / "new", against=[tmp_path / "in"])
    other = Corpus(near_duplicates=replace(NearDuplicates(), bands=5))
    with pytest.raises(UserError, match=r"bands=25.*not .*bands=5.*--bands"):
        deduplicate(other, shards, tmp_path / "new", against=[tmp_path / "old"])
    assert not (tmp_path / "new").exists()  # nothing was signed for it


def test_the_output_is_not_an_old_corpus(rows: list[dict[str, Any]], tmp_path: Path, write_shard: Callable[..., Path]) -> None:
    """The new shards would replace all that lies there."""
    deduplicate(Corpus(), shards_of(tmp_path / "in", rows[:5], write_shard, 1), tmp_path / "old")
    new = write_shard(tmp_path / "new-in" / "new.parquet", rows[6])
    with pytest.raises(UserError, match=r"--against .*old: is the output.*another --output"):
        deduplicate(Corpus(), [new], tmp_path / "old", against=[tmp_path / "in" / ".." / "old"])
    assert len(survivors(tmp_path / "old")) == 5


def test_missing_and_damaged_files_of_an_old_output_are_named(
    rows: list[dict[str, Any]], tmp_path: Path, write_shard: Callable[..., Path]
) -> None:
    deduplicate(Corpus(), shards_of(tmp_path / "in", rows[:5], write_shard, 1), tmp_path / "old")
    new = write_shard(tmp_path / "new-in" / "new.parquet", rows[6])
    for name in ("0.signed.npy", "0.parquet"):
        path = tmp_path / "old" / name
        data = path.read_bytes()
        path.unlink()
        with pytest.raises(UserError, match=rf"old: {name} is gone; .*again"):
            deduplicate(Corpus(), [new], tmp_path / "new", against=[tmp_path / "old"])
        path.write_bytes(data)
    signed = tmp_path / "old" / "0.signed.npy"
    signed.write_bytes(signed.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"old/0\.signed\.npy: damaged .* again"):
        deduplicate(Corpus(), [new], tmp_path / "new", against=[tmp_path / "old"])
