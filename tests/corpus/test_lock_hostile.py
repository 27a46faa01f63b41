"""corpus.lock comes from others: what is damaged or hostile is refused, and nothing is written."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.config import Redaction, Source
from megatron_snow.corpus.lock import header, lock_corpus, restore_corpus
from megatron_snow.corpus.lock.blobs import find_in_git
from megatron_snow.corpus.lock.wanted import Wanted

LARGEST = 10_000_000  # bytes of a file


@pytest.fixture
def lock(write_shard: Callable[..., Path], tmp_path: Path) -> Path:
    """Of one shard with two documents."""
    path = tmp_path / "given" / "corpus.lock"
    lock_corpus([write_shard(tmp_path / "given" / "a.parquet", {"content": "x = 1\n"}, {"content": "y = 2\n"})], path, Redaction())
    return path


def _relocked(lock: Path, place: Path, change: Callable[[dict[str, Any]], None], columns: Callable[[pa.Table], pa.Table]) -> Path:
    """The lock with another header and other columns."""
    rows = pq.read_table(lock)
    value = json.loads(rows.schema.metadata[header.KEY])
    change(value)
    pq.write_table(columns(rows).replace_schema_metadata({header.KEY: json.dumps(value).encode()}), place)
    return place


def _as_it_is(rows: pa.Table) -> pa.Table:
    return rows


@pytest.mark.parametrize(
    ("change", "columns", "message"),
    [
        (lambda value: value["shards"][0].update(name="../../outside.parquet"), _as_it_is, "no name of a shard"),
        (lambda value: value["shards"][0].update(name="/outside.parquet"), _as_it_is, "no name of a shard"),
        (lambda value: value["shards"][0].update(name=".stage.json"), _as_it_is, "no name of a shard"),
        (lambda value: value["shards"][0]["row_groups"].append(1), _as_it_is, "rows, where its shards have"),
        (lambda value: value["shards"][0]["row_groups"].extend([-1, 1]), _as_it_is, "row group of -1 rows"),
        (lambda value: value["shards"][0].update(schema="!!!"), _as_it_is, "damaged"),
        (lambda value: value.pop("shards"), _as_it_is, "'shards'"),
        (lambda value: value["redaction"].update(nonsense=1), _as_it_is, "nonsense"),
        (lambda value: value.update(version="one"), _as_it_is, "damaged"),
        (lambda value: None, lambda rows: rows.drop_columns(["swhid"]), "columns that the lock lacks: swhid"),
    ],
)
def test_a_hostile_header_is_refused_and_nothing_is_written(
    lock: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], columns: Callable[[pa.Table], pa.Table], message: str
) -> None:
    place = _relocked(lock, tmp_path / "hostile.lock", change, columns)
    with pytest.raises(UserError, match=rf"hostile\.lock: damaged: .*{message}|hostile\.lock: {message}"):
        restore_corpus(place, [Source("folder", str(tmp_path))], tmp_path / "deep" / "er" / "out", max_file_bytes=LARGEST)
    assert not list(tmp_path.rglob("*outside*"))
    assert not (tmp_path / "deep").exists()


def test_a_document_without_a_digest_is_refused(lock: Path, tmp_path: Path) -> None:
    def without(rows: pa.Table) -> pa.Table:
        return rows.set_column(rows.column_names.index(header.FILE_SHA256), header.FILE_SHA256, pa.array(["zz"] * rows.num_rows))

    place = _relocked(lock, tmp_path / "hostile.lock", lambda value: None, without)
    with pytest.raises(UserError, match="a document without the digest of its sha256"):
        Wanted(place)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_is_asked_for_whole_names_of_blobs_alone(lock: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "author.py").write_text("x = 1\n")
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run(["git", *identity, "-C", str(repository), *command], check=True, capture_output=True)

    def renamed(rows: pa.Table) -> pa.Table:
        names = ["swh:1:cnt:HEAD:author.py", "swh:1:cnt:HEAD\nHEAD:author.py"]
        return rows.set_column(rows.column_names.index("swhid"), "swhid", pa.array(names))

    place = _relocked(lock, tmp_path / "hostile.lock", lambda value: None, renamed)
    pq.write_table(pa.table({"row": [0, 1]}), tmp_path / "missing.parquet")
    facts = {"repository": str(repository), "max_file_bytes": LARGEST}
    assert find_in_git([tmp_path / "missing.parquet", place], tmp_path / "found", facts) == {"files": 0}


def test_a_lock_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.lock: no such file; check the path"):
        header.read_header(tmp_path / "none.lock")


def test_what_cannot_be_locked_says_why(lock: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder; give the name of a file"):
        lock_corpus([lock], tmp_path, Redaction())
    taken = tmp_path / "taken.parquet"
    pq.write_table(pa.table({"content": ["x = 1\n"], "lock:content": ["a"]}), taken)
    with pytest.raises(UserError, match=r"taken\.parquet: column 'lock:content' is one of a lock's own"):
        lock_corpus([taken], tmp_path / "corpus.lock", Redaction())
