"""Taking documents down: what is left is what preprocessing without them gives, and the proof sees when they are still there."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_snow.common.checksums import file_digest
from megatron_snow.common.errors import UserError
from megatron_snow.config import Tokens
from megatron_snow.datasets import IndexedDataset, Lineage, takedown, tokenize_shards
from megatron_snow.datasets import lineage as lineage_module
from megatron_snow.datasets.selection import Selection
from megatron_snow.datasets.takedown import take_down
from megatron_snow.datasets.takedown_proof import NotGone, prove
from megatron_snow.pipeline import DOCUMENT, ShardWriter, shards_in

Document = dict[str, Any]
SCHEMA = DOCUMENT.append(pa.field("group", pa.string())).append(pa.field("header", pa.string()))
FILES = [f"{language}.{end}" for language in ("C", "Python") for end in ("bin", "idx", "lineage.parquet", "starts.npy", "seal.json")]


def with_headers(documents: list[Document], named: Callable[[str], bool]) -> list[Document]:
    """As the grouping stage writes them: the repository's name at the first file of a group."""
    rows = []
    for _, files in groupby(documents, lambda document: document["group"]):
        for number, file in enumerate(files):
            name = f"<repo_name>{file['repository']}<file_sep>" if number == 0 else ""
            rows.append({**file, "header": f"{name}{file['path']}\n" if named(file["repository"]) else ""})
    return rows


@pytest.fixture(scope="module")
def documents(code_documents: list[Document]) -> list[Document]:
    return [{**document, "swhid": f"swh:1:cnt:{number:040x}", "sha256": f"{number:064x}"} for number, document in enumerate(code_documents)]


@pytest.fixture(scope="module")
def make(code_tokenizer: Path) -> Callable[..., Path]:
    """make(documents, folder, settings): the datasets of these documents."""

    def build(documents: list[Document], folder: Path, settings: Tokens) -> Path:
        (folder / "shards").mkdir(parents=True)
        for language in ("C", "Python"):
            with ShardWriter(folder / "shards" / f"{language}-00000.parquet", SCHEMA) as writer:
                for row in with_headers(documents, lambda repository: hash_of(repository) % 2 == 0):
                    if row["language"] == language:
                        writer.write(row)
        tokenize_shards(shards_in(folder / "shards"), code_tokenizer, folder / "tokens", tokens=settings)
        return folder / "tokens"

    return build


def hash_of(name: str) -> int:
    return sum(name.encode())


def digests(folder: Path) -> dict[str, str]:
    return {name: file_digest(folder / name) for name in FILES}


CHOICES: dict[str, Callable[[list[Document]], set[int]]] = {
    "a repository": lambda documents: {n for n, d in enumerate(documents) if d["repository"] == "python:email"},
    "first and last files": lambda documents: {0, len(documents) - 1},
    "first files of groups": lambda documents: {n for n, d in enumerate(documents) if n == 0 or d["group"] != documents[n - 1]["group"]},
    "two first files of groups": lambda documents: {
        n + k for n, d in enumerate(documents) if n == 0 or d["group"] != documents[n - 1]["group"] for k in (0, 1)
    },
    "last files of groups": lambda documents: {n for n, d in enumerate(documents[:-1]) if d["group"] != documents[n + 1]["group"]},
    "every second": lambda documents: set(range(0, len(documents), 2)),
    "all of C": lambda documents: {n for n, d in enumerate(documents) if d["language"] == "C"},
    "some": lambda documents: set(random.Random(1).sample(range(len(documents)), 40)),
}


@pytest.mark.parametrize("separator", ["<file_sep>", "<|endoftext|>", ""])
@pytest.mark.parametrize("choice", CHOICES)
def test_what_is_left_is_what_preprocessing_without_them_gives(
    documents: list[Document], make: Callable[..., Path], tmp_path: Path, separator: Any, choice: str
) -> None:
    settings = Tokens(separator, 15_000)  # groups are cut, and cut elsewhere when files are gone
    old = make(documents, tmp_path / "old", settings)
    gone = CHOICES[choice](documents)
    fresh = make([document for number, document in enumerate(documents) if number not in gone], tmp_path / "fresh", settings)
    counts = take_down(old, Selection(swhid=tuple(documents[n]["swhid"] for n in gone)), tmp_path / "new").counts
    assert digests(tmp_path / "new") == digests(fresh)
    assert counts["removed_files"] == len(gone)
    assert not (tmp_path / "new" / "work").exists()
    removed = [row for x in ("C", "Python") for row in pq.read_table(tmp_path / "new" / f"{x}.removed.parquet").to_pylist()]
    assert {row["swhid"] for row in removed} == {documents[n]["swhid"] for n in gone}
    for row in removed:
        assert Lineage(old / row["language"]).at(row["token_start"]).swhid == row["swhid"]


@pytest.mark.parametrize("rows", [1, 7])
def test_small_row_groups_change_nothing(
    documents: list[Document], make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Groups, names that move and cuts that cross what is in memory at a time."""
    monkeypatch.setattr(lineage_module, "_ROWS", rows)
    settings = Tokens("", 15_000)
    old = make(documents, tmp_path / "old", settings)
    gone = CHOICES["two first files of groups"](documents)
    fresh = make([document for number, document in enumerate(documents) if number not in gone], tmp_path / "fresh", settings)
    take_down(old, Selection(swhid=tuple(documents[n]["swhid"] for n in gone)), tmp_path / "new")
    assert digests(tmp_path / "new") == digests(fresh)


def test_the_report(documents: list[Document], make: Callable[..., Path], tmp_path: Path) -> None:
    """A copy of a removed file in another repository, and one with half of its text, are named."""
    lent = next(document for document in documents if document["repository"] == "python:email" and document["size"] > 9000)
    other = next(document for document in documents if document["repository"] == "python:json")
    copy = {**lent, "repository": "python:json", "group": other["group"], "path": "vendored.py", "swhid": "swh:1:cnt:" + "f" * 40}
    changed = {**copy, "id": "0" * 32, "path": "changed.py", "content": "import os\n" * 9 + lent["content"][:-2000]}
    at = documents.index(other)
    old = make([*documents[:at], copy, changed, *documents[at:]], tmp_path / "old", Tokens())
    take_down(old, Selection(repository=("python:email",)), tmp_path / "new")
    report = json.loads((tmp_path / "new" / "Python.takedown.json").read_text())
    proof, lineage = report["proof"], Lineage(tmp_path / "new" / "Python")
    assert report["asked"] == {"repository": ["python:email"]}
    assert [file["path"] for file in proof["copies"]] == ["vendored.py"]
    assert [file["path"] for file in proof["similar"]] == ["changed.py"]
    assert proof["copies"][0]["share"] == 1.0
    assert 0.7 < proof["similar"][0]["share"] < 1.0
    assert proof["files_compared"] == len(lineage) == report["kept_files"]
    assert proof["windows_removed"] > proof["windows_in_kept_files"] > 500
    assert "python:email" not in {origin.repository for origin in lineage.between(0, lineage.num_tokens)}
    for when, folder in (("before", old), ("after", tmp_path / "new")):
        seal = json.loads((folder / "Python.seal.json").read_text())
        assert report["digests"][when] == {suffix: entry["digest"] for suffix, entry in seal["files"].items()}


def test_the_proof_sees_what_is_wrong(documents: list[Document], make: Callable[..., Path], tmp_path: Path) -> None:
    old, selection = make(documents, tmp_path / "old", Tokens()), Selection(repository=("python:email",))
    take_down(old, selection, tmp_path / "new")
    new = tmp_path / "new" / "Python"
    prove(old / "Python", new, selection)
    with pytest.raises(NotGone, match="names files that were to be taken down"):
        prove(old / "Python", old / "Python", selection)
    with pytest.raises(NotGone, match="not those that were to stay"):
        prove(old / "Python", new, Selection(id=("0",)))
    tokens = np.fromfile(f"{new}.bin", np.uint16)
    number = np.load(f"{new}.starts.npy")[40]
    for place, match in ((number + 3, "not those of its file"), (number - 1, "no separator")):
        wrong = tokens.copy()
        wrong[place] = 700 if wrong[place] != 700 else 701
        wrong.tofile(f"{new}.bin")
        with pytest.raises(NotGone, match=match):
            prove(old / "Python", new, selection)


def test_a_proof_that_fails_leaves_nothing(
    documents: list[Document], make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokens of removed files stay in the .bin: nothing is committed."""
    old = make(documents, tmp_path / "old", Tokens())
    original = takedown.seal

    def spoil(prefix: Path) -> object:
        tokens = np.fromfile(prefix.with_name(prefix.name + ".bin"), np.uint16)
        tokens[100:200] = IndexedDataset(old / "Python").read(0, 100)
        tokens.tofile(prefix.with_name(prefix.name + ".bin"))
        return original(prefix)

    monkeypatch.setattr(takedown, "seal", spoil)
    with pytest.raises(NotGone):
        take_down(old, Selection(repository=("python:email",)), tmp_path / "new")
    assert not [path for path in (tmp_path / "new").rglob("*") if path.suffix in (".bin", ".idx")]


def test_names_that_nothing_has(documents: list[Document], make: Callable[..., Path], tmp_path: Path) -> None:
    old = make(documents, tmp_path / "old", Tokens())
    with pytest.raises(UserError, match=r"--repository python:emial: no file has it; did you mean python:email\?"):
        take_down(old, Selection(repository=("python:json", "python:emial")), tmp_path / "new")
    with pytest.raises(UserError, match=r"tokens: --id 77: no file has it"):
        take_down(old, Selection(id=("77",)), tmp_path / "new")
    with pytest.raises(UserError, match=r"--path \*\.rs: no file of python:json has such a path"):
        take_down(old, Selection(repository=("python:json",), path="*.rs"), tmp_path / "new")
    with pytest.raises(UserError, match="nothing is named"):
        Selection()
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="holds the input"):
        take_down(old, Selection(repository=("python:json",)), old)
    assert not (old / "work").exists()


def test_what_is_damaged_is_not_sealed_anew(documents: list[Document], make: Callable[..., Path], tmp_path: Path) -> None:
    old, repository = make(documents, tmp_path / "old", Tokens()), documents[0]["repository"]
    for suffix in ("bin", "starts.npy", "lineage.parquet"):
        path = old / f"Python.{suffix}"
        whole = path.read_bytes()
        place = len(whole) // 2
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match=rf"Python\.{suffix}: (bytes 0 to {len(whole)} not what was sealed|damaged)"):
            take_down(old, Selection(repository=(repository,)), tmp_path / "new")
        assert not list((tmp_path / "new").glob("Python*"))
        path.write_bytes(whole)
