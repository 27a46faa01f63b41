"""Grouped shards to tokens: groups stay whole and adjacent, every token leads back to its file, whoever did which part."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
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
from megatron_snow.datasets import IndexedDataset, Lineage, tokenize_shards
from megatron_snow.pipeline import DOCUMENT, Execution, ShardWriter, pieces_of, shards, shards_in
from megatron_snow.tokenizers import load_tokenizer

SUFFIXES = (".bin", ".idx", ".lineage.parquet", ".starts.npy", ".seal.json")
SCHEMA = DOCUMENT.append(pa.field("group", pa.string()))


def write_shard(path: Path, documents: Sequence[dict[str, Any]], rows: int = 1000) -> None:
    """Documents in row groups of so many."""
    with ShardWriter(path, SCHEMA) as writer:
        for first in range(0, len(documents), rows):
            writer.write_row_group(pa.Table.from_pylist(documents[first : first + rows], schema=SCHEMA))


def datasets_in(folder: Path) -> dict[str, str]:
    """Digests of all files of datasets."""
    return {path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.name.endswith(SUFFIXES)}


def expected(documents: Sequence[dict[str, Any]], model: Path, separator: str, limit: int) -> list[list[list[int]]]:
    """The plain way: for each sequence the ids of its files."""
    tokenizer, between = load_tokenizer(model), 1 if separator else 0
    sequences: list[list[list[int]]] = []
    for _, files in groupby(documents, lambda document: document["group"]):
        sequences.append([])
        for file in files:
            ids = tokenizer.encode(file["content"])
            length = sum(len(other) + between for other in sequences[-1]) + len(ids) + 1
            if sequences[-1] and length > limit:
                sequences.append([])
            sequences[-1].append(ids)
    return sequences


@pytest.fixture(scope="module")
def tokens(grouped_shards: Path, code_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("tokens") / "general"
    tokenize_shards(shards_in(grouped_shards), code_tokenizer, output)
    return output


@pytest.mark.parametrize("separator", ["<file_sep>", "<|endoftext|>", ""])
@pytest.mark.parametrize("limit", [2**24, 20_000, 2])
def test_a_group_is_a_sequence(
    grouped_shards: Path, code_tokenizer: Path, code_documents: list[dict[str, Any]], tmp_path: Path, separator: Any, limit: int
) -> None:
    tokenizer = load_tokenizer(code_tokenizer)
    tokenize_shards(shards_in(grouped_shards), code_tokenizer, tmp_path, tokens=Tokens(separator, limit))
    between = {"<file_sep>": [tokenizer.file_separator], "<|endoftext|>": [tokenizer.eod], "": []}[separator]
    for language in ("Python", "C"):
        dataset = IndexedDataset(tmp_path / language)
        sequences = expected([one for one in code_documents if one["language"] == language], code_tokenizer, separator, limit)
        assert len(dataset) == len(sequences) == len(dataset.document_indices) - 1
        for number, files in enumerate(sequences):
            flat = files[0] + [token for file in files[1:] for token in [*between, *file]]
            assert dataset[number].tolist() == [*flat, tokenizer.eod]
            assert len(flat) < limit or len(files) == 1


@pytest.mark.parametrize("separator", ["<file_sep>", ""])
def test_the_bytes_do_not_depend_on_shards_pieces_and_workers(
    code_tokenizer: Path, code_documents: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separator: Any
) -> None:
    """Cuts inside groups, at their borders and around single files; pieces of a shard; processes."""
    documents = [document for document in code_documents if document["language"] == "Python"]
    settings = Tokens(separator, 30_000)  # some groups are cut, at places that no part knows
    results = []
    for number, cuts in enumerate(([], [1, 2, 50, 51, 99, 100, 101, 180], list(range(7, len(documents), 7)))):
        folder = tmp_path / f"shards{number}"
        folder.mkdir()
        for part, (first, last) in enumerate(zip([0, *cuts], [*cuts, len(documents)])):
            write_shard(folder / f"Python-{part:05d}.parquet", documents[first:last])
        tokenize_shards(shards_in(folder), code_tokenizer, tmp_path / f"tokens{number}", Execution("pool", number + 1), settings)
        results.append(datasets_in(tmp_path / f"tokens{number}"))
    (tmp_path / "pieces").mkdir()
    write_shard(tmp_path / "pieces" / "Python-00000.parquet", documents, rows=9)
    monkeypatch.setattr(shards, "SPLIT_BYTES", 50_000)
    assert len(pieces_of(tmp_path / "pieces" / "Python-00000.parquet")) > 5
    tokenize_shards(shards_in(tmp_path / "pieces"), code_tokenizer, tmp_path / "tokens", tokens=settings)
    assert results == [datasets_in(tmp_path / "tokens")] * 3
    assert len(results[0]) == len(SUFFIXES)
    assert not (tmp_path / "tokens" / "work").exists()


def test_every_file_is_found_by_its_tokens(tokens: Path, code_tokenizer: Path, code_documents: list[dict[str, Any]]) -> None:
    tokenizer, by_id = load_tokenizer(code_tokenizer), {document["id"]: document for document in code_documents}
    for language in ("Python", "C"):
        dataset, lineage = IndexedDataset(tokens / language), Lineage(tokens / language)
        origins = lineage.between(0, dataset.num_tokens)
        assert len(origins) == len(lineage) == sum(document["language"] == language for document in code_documents)
        ends = [*(origin.token_start for origin in origins[1:]), dataset.num_tokens]
        for origin, end in zip(origins, ends):
            document = by_id[origin.id]
            assert (origin.repository, origin.licence, origin.size) == (document["repository"], document["licence"], document["size"])
            assert tokenizer.decode(dataset.read(origin.token_start, origin.tokens).tolist()) == document["content"]
            assert origin.token_start + origin.tokens == end - 1
            assert lineage.at(origin.token_start) == lineage.at(end - 1) == origin
        assert np.load(tokens / f"{language}.starts.npy", mmap_mode="r").tolist() == [origin.token_start for origin in origins]


def test_counts(grouped_shards: Path, code_tokenizer: Path, code_documents: list[dict[str, Any]], tokens: Path) -> None:
    counts = tokenize_shards(shards_in(grouped_shards), code_tokenizer, tokens).counts
    assert counts["documents"] == len(code_documents)
    assert counts["bytes"] == sum(document["size"] for document in code_documents)
    assert counts["groups"] == counts["sequences"] == len({document["group"] for document in code_documents})
    assert counts["tokens"] == counts["tokens:Python"] + counts["tokens:C"]
    assert counts["tokens"] == sum(IndexedDataset(tokens / x).num_tokens for x in ("C", "Python"))


def test_done_work_is_kept(grouped_shards: Path, code_tokenizer: Path, tmp_path: Path) -> None:
    folder = tmp_path / "grouped"
    shutil.copytree(grouped_shards, folder)
    tokenize_shards(shards_in(folder), code_tokenizer, tmp_path / "tokens")
    before = (tmp_path / "tokens" / "C.bin").stat().st_mtime_ns
    (folder / "Python-00001.parquet").unlink()
    tokenize_shards(shards_in(folder), code_tokenizer, tmp_path / "tokens")
    assert (tmp_path / "tokens" / "C.bin").stat().st_mtime_ns == before
    assert len(Lineage(tmp_path / "tokens" / "Python")) == 100


def test_another_separator_is_another_dataset(grouped_shards: Path, code_tokenizer: Path, tmp_path: Path) -> None:
    first = tokenize_shards(shards_in(grouped_shards), code_tokenizer, tmp_path / "tokens")
    second = tokenize_shards(shards_in(grouped_shards), code_tokenizer, tmp_path / "tokens", tokens=Tokens(""))
    assert first.outputs["C.bin"] != second.outputs["C.bin"]
    assert first.counts["tokens"] - second.counts["tokens"] == first.counts["documents"] - first.counts["groups"]


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    code_documents: list[dict[str, Any]], code_tokenizer: Path, tmp_path: Path
) -> None:
    (tmp_path / "shards").mkdir()
    documents = [document for document in code_documents if document["language"] == "Python"] * 4
    for number in range(24):
        write_shard(tmp_path / "shards" / f"Python-{number:05d}.parquet", documents[number::24])
    verb = ["preprocess-data", "--input", str(tmp_path / "shards"), "--group-by", "language,repository", "--workers", "2"]
    verb += ["--tokenizer-model", str(code_tokenizer), "--output-prefix"]
    command = [sys.executable, "-c", "import sys; from megatron_snow.cli.main import main; sys.exit(main(sys.argv[1:]))", *verb]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    parts, kills = tmp_path / "killed" / "work" / "parts", 0
    for records in (2, 8, 15):
        process = subprocess.Popen([*command, str(tmp_path / "killed")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(parts.glob("*.record.json"))) < records:
            time.sleep(0.005)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills == 3
    done = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.record.json")}
    assert len(done) >= 15
    assert not list((tmp_path / "killed").glob("*.idx"))
    subprocess.run([*command, str(tmp_path / "killed")], check=True, capture_output=True)
    assert datasets_in(tmp_path / "killed") == datasets_in(tmp_path / "whole")


def test_no_shards_give_an_empty_dataset(code_tokenizer: Path, tmp_path: Path) -> None:
    assert tokenize_shards([], code_tokenizer, tmp_path / "tokens", Execution("pool", 2)).outputs == {}
    assert (tmp_path / "tokens" / "manifest.json").is_file()


def test_shards_and_texts_without_anything(code_documents: list[dict[str, Any]], code_tokenizer: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(code_tokenizer)
    write_shard(tmp_path / "C-00000.parquet", [])
    write_shard(tmp_path / "D-00000.parquet", [])
    empty = {"content": "", "size": 0}
    write_shard(tmp_path / "D-00001.parquet", [{**code_documents[0], **empty}, {**code_documents[1], **empty}])
    tokenize_shards(shards_in(tmp_path), code_tokenizer, tmp_path / "tokens")
    assert (len(IndexedDataset(tmp_path / "tokens" / "C")), len(Lineage(tmp_path / "tokens" / "C"))) == (0, 0)
    assert IndexedDataset(tmp_path / "tokens" / "D")[0].tolist() == [tokenizer.file_separator, tokenizer.eod]
    tokenize_shards(shards_in(tmp_path), code_tokenizer, tmp_path / "tokens", tokens=Tokens(""))
    assert IndexedDataset(tmp_path / "tokens" / "D")[0].tolist() == [tokenizer.eod]
    assert len(Lineage(tmp_path / "tokens" / "D")) == 2


def test_a_language_with_a_point_in_its_name(code_documents: list[dict[str, Any]], code_tokenizer: Path, tmp_path: Path) -> None:
    for number in range(2):
        write_shard(tmp_path / f"ASP.NET-{number:05d}.parquet", code_documents[number : number + 1])
    tokenize_shards(shards_in(tmp_path), code_tokenizer, tmp_path / "tokens")
    assert len(Lineage(tmp_path / "tokens" / "ASP.NET")) == 2


@pytest.mark.parametrize("kind", [pa.int64(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_column_of_groups_may_be_of_any_type_that_has_a_text(code_tokenizer: Path, tmp_path: Path, kind: pa.DataType) -> None:
    shard = tmp_path / "C-00000.parquet"
    texts, groups = pa.array(["int a;", "int b;", "int c;"]), pa.array(["1", "1", "2"]).cast(kind)
    pq.write_table(pa.table({"content": texts, "size": [6, 6, 6], "path": ["a", "b", "c"], "group": groups}), shard)
    tokenize_shards([shard], code_tokenizer, tmp_path / "tokens")
    lineage = Lineage(tmp_path / "tokens" / "C")
    assert [(origin.path, origin.group) for origin in lineage.between(0, lineage.num_tokens)] == [("a", 0), ("b", 0), ("c", 1)]


def test_bad_shards(grouped_shards: Path, code_tokenizer: Path, tmp_path: Path) -> None:
    shard = tmp_path / "Python-00000.parquet"
    shard.write_bytes((grouped_shards / "Python-00000.parquet").read_bytes()[:5000])
    with pytest.raises(UserError, match=r"Python-00000\.parquet: damaged shard"):
        tokenize_shards([shard], code_tokenizer, tmp_path / "tokens")
    with pytest.raises(UserError, match=r"none\.parquet: no such shard"):
        tokenize_shards([tmp_path / "none.parquet"], code_tokenizer, tmp_path / "tokens")
    with ShardWriter(shard, DOCUMENT) as writer:
        writer.write({"content": "x", "size": 1})
    with pytest.raises(UserError, match=r"Python-00000\.parquet: no column 'group'.*group_corpus"):
        tokenize_shards([shard], code_tokenizer, tmp_path / "tokens")
    with pytest.raises(UserError, match=r"max_group_tokens: 1"):
        tokenize_shards([shard], code_tokenizer, tmp_path / "tokens", tokens=Tokens(max_group_tokens=1))
    assert [path.name for path in (tmp_path / "tokens").rglob("*") if path.suffix in (".bin", ".idx")] == []
