"""corpus.lock: locked after a real run, restored byte for byte from mirrors that have moved, and never a wrong byte."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from megatron_snow.cli.main import run_verb
from megatron_snow.common.checksums import text_digest
from megatron_snow.common.errors import UserError
from megatron_snow.config import Corpus, Redaction, Source
from megatron_snow.corpus.lock import MISSING, header, lock_corpus, read_header, restore_corpus
from megatron_snow.corpus.lock.wanted import Index, Wanted
from megatron_snow.corpus.redaction import redact
from megatron_snow.corpus.stages import collect, deduplicate, filter_documents, group
from megatron_snow.pipeline import Execution, shards_in

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

LARGEST = 10_000_000  # bytes of a file
NOTEBOOK = {
    "cells": [{"cell_type": "code", "source": ["x = 1\n", "print(x)"], "outputs": []}],
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {},
}
MAIL = "# written by jane.roe@somewhere-else.org, who keeps it\nVALUE = 1\n"


def git(root: Path, *command: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *identity, "-C", str(root), *command], check=True, capture_output=True)


def commit_all(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "a change")


@pytest.fixture(scope="module")
def sources(checkouts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """checkouts/ with two git repositories and a plain folder, asyncio-1.0.tar.gz, others.jsonl."""
    root = tmp_path_factory.mktemp("sources")
    for name in ("email", "json", "http"):
        shutil.copytree(checkouts / name, root / "checkouts" / name)
    email = root / "checkouts" / "email"
    (email / "accents.py").write_bytes("# -*- coding: latin-1 -*-\nNAME = 'café'\n".encode("latin-1"))
    (email / "author.py").write_text(MAIL)
    (email / "steps.ipynb").write_text(json.dumps(NOTEBOOK))
    for name in ("email", "json"):
        git(root / "checkouts" / name, "init", "-q")
        commit_all(root / "checkouts" / name)
    with tarfile.open(root / "asyncio-1.0.tar.gz", "w:gz") as archive:
        archive.add(checkouts / "asyncio", "asyncio-1.0")
    rows = [{"content": path.read_text(), "repo_name": "a/html", "path": path.name} for path in sorted((checkouts / "html").glob("*.py"))]
    (root / "others.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def all_of(root: Path) -> list[Source]:
    return [
        Source("folder", str(root / "checkouts")),
        Source("archive", str(root / "*.tar.gz")),
        Source("jsonl", str(root / "others.jsonl")),
    ]


@pytest.fixture(scope="module")
def shards(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Grouped shards of a whole run over the sources."""
    run = tmp_path_factory.mktemp("run")
    corpus = Corpus(sources=tuple(all_of(sources)), held_out_share=0.0, header_share=0.5)
    collect(corpus, 1, run / "collected")
    filter_documents(corpus, shards_in(run / "collected"), run / "filtered")
    deduplicate(corpus, shards_in(run / "filtered"), run / "deduplicated")
    redact(corpus, shards_in(run / "deduplicated"), run / "redacted")
    group(corpus, 1, shards_in(run / "redacted"), run / "grouped", run / "held_out")
    return shards_in(run / "grouped")


@pytest.fixture(scope="module")
def lock(shards: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lock") / "corpus.lock"
    lock_corpus(shards, path, Redaction())
    return path


@pytest.fixture
def mirror(sources: Path, tmp_path: Path) -> Path:
    """A copy of the sources to damage and to move."""
    return shutil.copytree(sources, tmp_path / "mirror", symlinks=True)


def assert_same_bytes(shards: Sequence[Path], folder: Path) -> None:
    assert [path.name for path in shards_in(folder)] == [path.name for path in shards]
    for path in shards:
        assert (folder / path.name).read_bytes() == path.read_bytes(), path.name


def missing_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / MISSING).read_text().splitlines()]


def documents(shards: Sequence[Path]) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in shards], promote_options="default")


def test_the_run_has_what_makes_restoring_hard(shards: list[Path]) -> None:
    rows = {row["path"]: row for row in documents(shards).to_pylist()}
    assert {row["language"] for row in rows.values()} >= {"Python", "Jupyter Notebook"}
    assert "café" in rows["accents.py"]["content"]
    assert "jane.roe" not in rows["author.py"]["content"]
    assert {row["repository"] for row in rows.values()} >= {"a/html", "json"}
    assert len({row["header"] for row in rows.values()}) > 1


def test_a_lock_holds_every_column_but_the_content(shards: list[Path], lock: Path) -> None:
    rows, before = pq.read_table(lock), documents(shards)
    assert set(rows.column_names) == (set(before.column_names) - {"content"}) | set(header.OWN)
    for name in set(before.column_names) - {"content"}:
        assert rows[name].to_pylist() == before[name].to_pylist(), name
    assert lock.stat().st_size < sum(path.stat().st_size for path in shards) / 4
    assert all(shard.exact for shard in read_header(lock).shards)


def test_restored_bytes_are_the_shards_whatever_the_workers(sources: Path, shards: list[Path], lock: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        restored = restore_corpus(lock, all_of(sources), tmp_path / f"{workers}", Execution("pool", workers), max_file_bytes=LARGEST)
        assert (restored.missing, restored.exact, restored.other_bytes) == (0, len(shards), ())
        assert_same_bytes(shards, tmp_path / f"{workers}")


def test_a_mirror_may_have_moved(mirror: Path, shards: list[Path], lock: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(mirror / "asyncio-1.0.tar.gz", mirror / "elsewhere")
    (mirror / "elsewhere" / "asyncio-1.0").rename(mirror / "elsewhere" / "renamed")
    shutil.move(mirror / "checkouts" / "http", mirror / "elsewhere" / "other-name")
    places = [Source("folder", str(mirror / name)) for name in ("elsewhere", "checkouts")]
    restored = restore_corpus(lock, [*places, Source("jsonl", str(mirror / "others.jsonl"))], tmp_path / "out", max_file_bytes=LARGEST)
    assert restored.exact == len(shards)
    assert_same_bytes(shards, tmp_path / "out")


def test_the_corpus_itself_is_a_mirror_of_what_redaction_left_alone(shards: list[Path], lock: Path, tmp_path: Path) -> None:
    source = Source("parquet", str(shards[0].parent / "*.parquet"))
    restored = restore_corpus(lock, [source], tmp_path / "out", allow_missing=True, max_file_bytes=LARGEST)
    assert (restored.missing, restored.exact) == (0, len(shards))


def test_other_commits_are_found(mirror: Path, shards: list[Path], lock: Path, tmp_path: Path) -> None:
    repository = mirror / "checkouts" / "json"
    for number in range(2):
        (repository / "decoder.py").write_text(f"NOW = {number}\n")
        (repository / "encoder.py").unlink(missing_ok=True)
        commit_all(repository)
    restored = restore_corpus(lock, all_of(mirror), tmp_path / "out", max_file_bytes=LARGEST)
    assert restored.exact == len(shards)
    assert_same_bytes(shards, tmp_path / "out")


def test_a_bare_mirror_is_enough(mirror: Path, shards: list[Path], lock: Path, tmp_path: Path) -> None:
    for name in ("json", "email"):
        git(mirror, "clone", "-q", "--mirror", str(mirror / "checkouts" / name), str(mirror / "checkouts" / f"{name}.git"))
        git(mirror / "checkouts" / f"{name}.git", "gc", "-q")
        shutil.rmtree(mirror / "checkouts" / name)
    assert restore_corpus(lock, all_of(mirror), tmp_path / "out", max_file_bytes=LARGEST).exact == len(shards)
    assert_same_bytes(shards, tmp_path / "out")


def test_what_is_missing_is_named_and_nothing_is_written(
    mirror: Path, lock: Path, shards: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mirror / "asyncio-1.0.tar.gz").unlink()
    arguments = ["--lock", str(lock), "--source", f"folder:{mirror / 'checkouts'}", "--source", f"jsonl:{mirror / 'others.jsonl'}"]
    output = tmp_path / "out"
    assert run_verb("restore_corpus", [*arguments, "--output", str(output)]) == 2
    message = capsys.readouterr().err
    assert "--allow-missing" in message
    assert "in no source" in message
    gone = missing_in(output)
    lost = documents(shards).filter(pc.equal(documents(shards)["repository"], "asyncio-1.0"))
    assert len(gone) == lost.num_rows > 0
    assert {(row["repository"], row["revision"], row["path"]) for row in gone} == {
        (row["repository"], row["revision"], row["path"]) for row in lost.to_pylist()
    }
    assert not list(output.glob("*.parquet"))
    assert run_verb("restore_corpus", [*arguments, "--output", str(output), "--allow-missing"]) == 0
    kept = documents(shards).filter(pc.not_equal(documents(shards)["repository"], "asyncio-1.0"))
    assert documents(shards_in(output)).equals(kept)


def test_a_changed_file_is_told_from_an_absent_one(mirror: Path, lock: Path, tmp_path: Path) -> None:
    changed = mirror / "checkouts" / "http" / "cookies.py"
    changed.write_bytes(changed.read_bytes() + b"\n")
    (mirror / "checkouts" / "http" / "server.py").unlink()
    with pytest.raises(UserError, match=r"2 of \d+ documents are missing"):
        restore_corpus(lock, all_of(mirror), tmp_path / "out", max_file_bytes=LARGEST)
    states = {row["path"]: (row["state"], row["place"]) for row in missing_in(tmp_path / "out")}
    assert states == {"cookies.py": ("other_file", str(changed)), "server.py": ("absent", "")}


def test_the_settings_of_redaction_belong_to_the_lock(sources: Path, shards: list[Path], tmp_path: Path) -> None:
    lock_corpus(shards, tmp_path / "corpus.lock", Redaction(emails=False))
    restored = restore_corpus(tmp_path / "corpus.lock", all_of(sources), tmp_path / "out", allow_missing=True, max_file_bytes=LARGEST)
    assert restored.missing > 0
    assert ("author.py", "other_text") in {(row["path"], row["state"]) for row in missing_in(tmp_path / "out")}


def test_a_damaged_lock_is_refused(sources: Path, lock: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.lock"
    cut.write_bytes(lock.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"cut\.lock: cannot be read"):
        read_header(cut)
    rows = pq.read_table(lock)
    edited = rows.set_column(rows.column_names.index("licence"), "licence", pa.array(["MIT"] * rows.num_rows))
    pq.write_table(edited.replace_schema_metadata(rows.schema.metadata), tmp_path / "edited.lock")
    with pytest.raises(UserError, match=r"edited\.lock: damaged"):
        restore_corpus(tmp_path / "edited.lock", all_of(sources), tmp_path / "out", max_file_bytes=LARGEST)
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_a_parquet_file_that_is_no_lock_and_a_later_format(shards: list[Path], lock: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a corpus\.lock"):
        read_header(shards[0])
    later = replace(read_header(lock), version=header.VERSION + 1)
    pq.write_table(pq.read_table(lock).replace_schema_metadata(later.to_metadata()), tmp_path / "later.lock")
    with pytest.raises(UserError, match="format 2, this reads up to 1"):
        read_header(tmp_path / "later.lock")


def test_another_pyarrow_gives_the_rows_and_says_so(sources: Path, shards: list[Path], lock: Path, tmp_path: Path) -> None:
    known = read_header(lock)
    others = tuple(replace(shard, digest="0" * 32) for shard in known.shards)
    rows = pq.read_table(lock)
    for name, version in (("same", pa.__version__), ("other", "1.0.0")):
        changed = replace(known, shards=others, pyarrow=version)
        pq.write_table(rows.replace_schema_metadata(changed.to_metadata()), tmp_path / f"{name}.lock")
    with pytest.raises(UserError, match="the lock is damaged"):
        restore_corpus(tmp_path / "same.lock", all_of(sources), tmp_path / "same", max_file_bytes=LARGEST)
    restored = restore_corpus(tmp_path / "other.lock", all_of(sources), tmp_path / "other", max_file_bytes=LARGEST)
    assert (restored.exact, len(restored.other_bytes), restored.written_with) == (0, len(shards), "1.0.0")
    assert documents(shards_in(tmp_path / "other")).equals(documents(shards))


def test_shards_of_another_program_are_restored_as_rows(tmp_path: Path, checkouts: Path) -> None:
    files = sorted((checkouts / "json").glob("*.py"))
    rows = [{"text": path.read_text(), "repo": "json", "path": path.name, "lang": "Python", "quality": 0.5} for path in files]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "foreign.parquet", compression="gzip")
    known = lock_corpus([tmp_path / "foreign.parquet"], tmp_path / "corpus.lock", Redaction())
    assert [shard.exact for shard in known.shards] == [False]
    source = Source("folder", str(checkouts))
    restored = restore_corpus(tmp_path / "corpus.lock", [source], tmp_path / "out", max_file_bytes=LARGEST)
    assert (restored.missing, restored.exact) == (0, 1)
    again = pq.read_table(tmp_path / "out" / "foreign.parquet")
    assert again["content"].to_pylist() == [row["text"] for row in rows]
    assert again["quality"].to_pylist() == [0.5] * len(rows)


def test_two_shards_of_one_name_are_refused(write_shard: Callable[..., Path], tmp_path: Path) -> None:
    paths = [write_shard(tmp_path / folder / "a.parquet", {"content": "x = 1\n"}) for folder in ("one", "two")]
    with pytest.raises(UserError, match="two inputs are called a"):
        lock_corpus(paths, tmp_path / "corpus.lock", Redaction())


def test_an_index_tells_digests_apart_that_begin_alike(write_shard: Callable[..., Path], tmp_path: Path) -> None:
    twins = ["ab" * 32, "ab" * 16 + "cd" * 16, "01" * 32]
    assert Index(pa.chunked_array([pa.array(twins)])).rows(twins[1]).tolist() == [0, 1]
    documents = [{"content": f"x = {number}\n", "sha256": twin} for number, twin in enumerate(twins)]
    lock_corpus([write_shard(tmp_path / "a.parquet", *documents)], tmp_path / "corpus.lock", Redaction())
    wanted = Wanted(tmp_path / "corpus.lock")
    assert wanted.with_file(twins[1]) == [1]
    assert wanted.with_file(hashlib.sha256(b"").hexdigest()) == []
    assert wanted.with_content(text_digest("x = 2\n")) == [2]
    assert wanted.with_name("a/b", "a.py") == [0, 1, 2]
    assert wanted.with_name("a/c", "a.py") == []


def test_the_verbs(sources: Path, shards: list[Path], lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "corpus.lock"
    assert run_verb("lock_corpus", ["--input", str(shards[0].parent), "--output", str(output)]) == 0
    assert output.read_bytes() == lock.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.lock"]  # nothing of the work is left
    places = [f"folder:{sources / 'checkouts'}", f"archive:{sources / '*.tar.gz'}", f"jsonl:{sources / 'others.jsonl'}"]
    arguments = ["--lock", str(output), "--output", str(tmp_path / "out"), *(word for place in places for word in ("--source", place))]
    assert run_verb("restore_corpus", arguments) == 0
    assert f"{len(shards)} of {len(shards)} shards byte for byte" in capsys.readouterr().out
    assert_same_bytes(shards, tmp_path / "out")


def test_prose_that_was_asked_for_is_found_again(tmp_path: Path) -> None:
    (tmp_path / "checkouts" / "a").mkdir(parents=True)
    (tmp_path / "checkouts" / "a" / "README.md").write_text("# What it is\n\nA repository of prose.\n")
    (tmp_path / "checkouts" / "a" / "a.py").write_text("x = 1\n")
    source = Source("folder", str(tmp_path / "checkouts"))
    collect(Corpus(sources=(source,), languages=("Markdown", "Python")), 1, tmp_path / "collected")
    lock_corpus(shards_in(tmp_path / "collected"), tmp_path / "corpus.lock", Redaction())
    restored = restore_corpus(tmp_path / "corpus.lock", [source], tmp_path / "restored", max_file_bytes=LARGEST)
    assert (restored.missing, restored.exact) == (0, 1)
    assert pq.read_table(shards_in(tmp_path / "restored")[0])["language"].to_pylist().count("Markdown") == 1
