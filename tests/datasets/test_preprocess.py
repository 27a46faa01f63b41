"""Grouped shards to tokens: groups stay whole and adjacent, every token leads back to its file."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.datasets import IndexedDataset, Lineage, tokenize_shards
from megatron_snow.pipeline import shards_in
from megatron_snow.tokenizers import Tokenizer, load_tokenizer


@pytest.fixture(scope="module")
def tokens(grouped_shards: Path, code_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("tokens") / "general"
    tokenize_shards(shards_in(grouped_shards), code_tokenizer, output, workers=1)
    return output


def test_a_group_is_one_document(tokens: Path, code_tokenizer: Path, code_documents: list[dict[str, Any]]) -> None:
    tokenizer = load_tokenizer(code_tokenizer)
    groups: dict[str, list[str]] = defaultdict(list)
    for document in code_documents:
        groups[document["group"]].append(document["content"])
    for language in ("Python", "C"):
        dataset = IndexedDataset(tokens / language)
        expected = [files for group, files in groups.items() if group.startswith(f"{language}/")]
        assert len(dataset) == len(expected)
        for sequence, files in enumerate(expected):
            ids = dataset[sequence].tolist()
            assert ids[-1] == tokenizer.eod
            assert ids.count(tokenizer.eod) == 1
            assert ids.count(tokenizer.file_separator) == len(files) - 1
            assert _split(ids[:-1], tokenizer) == files


def _split(ids: list[int], tokenizer: Tokenizer) -> list[str]:
    files: list[list[int]] = [[]]
    for token in ids:
        if token == tokenizer.file_separator:
            files.append([])
        else:
            files[-1].append(token)
    return [tokenizer.decode(file) for file in files]


def test_every_file_is_found_by_its_tokens(tokens: Path, code_tokenizer: Path, code_documents: list[dict[str, Any]]) -> None:
    tokenizer, by_id = load_tokenizer(code_tokenizer), {document["id"]: document for document in code_documents}
    for language in ("Python", "C"):
        dataset, lineage = IndexedDataset(tokens / language), Lineage(tokens / language)
        origins = lineage.between(0, dataset.num_tokens)
        assert len(origins) == len(lineage) == sum(document["language"] == language for document in code_documents)
        ends = [*(origin.token_start for origin in origins[1:]), dataset.num_tokens]
        for origin, end in zip(origins, ends):
            document = by_id[origin.id]
            assert (origin.repository, origin.licence) == (document["repository"], document["licence"])
            assert tokenizer.decode(dataset.read(origin.token_start, end - origin.token_start - 1).tolist()) == by_id[origin.id]["content"]
            assert lineage.at(origin.token_start) == lineage.at(end - 1) == origin


def test_counts(grouped_shards: Path, code_tokenizer: Path, code_documents: list[dict[str, Any]], tokens: Path) -> None:
    counts = tokenize_shards(shards_in(grouped_shards), code_tokenizer, tokens, workers=1).counts
    assert counts["documents"] == len(code_documents)
    assert counts["bytes"] == sum(document["size"] for document in code_documents)
    assert (
        counts["tokens"]
        == counts["tokens:Python"] + counts["tokens:C"]
        == sum(IndexedDataset(tokens / x).num_tokens for x in ("C", "Python"))
    )


def test_workers_do_not_change_the_bytes(grouped_shards: Path, code_tokenizer: Path, tokens: Path, tmp_path: Path) -> None:
    manifest = tokenize_shards(shards_in(grouped_shards), code_tokenizer, tmp_path / "two", workers=2)
    assert set(manifest.outputs) == {f"{language}.{end}" for language in ("C", "Python") for end in ("bin", "idx", "lineage.parquet")}
    for name in manifest.outputs:
        assert (tmp_path / "two" / name).read_bytes() == (tokens / name).read_bytes()


def test_done_work_is_kept(grouped_shards: Path, code_tokenizer: Path, tmp_path: Path) -> None:
    shards = tmp_path / "grouped"
    shutil.copytree(grouped_shards, shards)
    tokenize_shards(shards_in(shards), code_tokenizer, tmp_path / "tokens", workers=1)
    before = (tmp_path / "tokens" / "C.bin").stat().st_mtime_ns
    (shards / "Python-00001.parquet").unlink()
    tokenize_shards(shards_in(shards), code_tokenizer, tmp_path / "tokens", workers=1)
    assert (tmp_path / "tokens" / "C.bin").stat().st_mtime_ns == before
    assert len(Lineage(tmp_path / "tokens" / "Python")) == 100


def test_no_shards_give_an_empty_dataset(code_tokenizer: Path, tmp_path: Path) -> None:
    assert tokenize_shards([], code_tokenizer, tmp_path / "tokens", workers=2).outputs == {}
    assert (tmp_path / "tokens" / "manifest.json").is_file()


def test_bad_shards(grouped_shards: Path, code_tokenizer: Path, tmp_path: Path) -> None:
    shard = tmp_path / "Python-00000.parquet"
    shard.write_bytes((grouped_shards / "Python-00000.parquet").read_bytes()[:5000])
    with pytest.raises(UserError, match=r"Python-00000\.parquet: damaged shard"):
        tokenize_shards([shard], code_tokenizer, tmp_path / "tokens", workers=1)
    with pytest.raises(UserError, match=r"none\.parquet: no such shard"):
        tokenize_shards([tmp_path / "none.parquet"], code_tokenizer, tmp_path / "tokens", workers=1)
    assert [path.name for path in (tmp_path / "tokens").iterdir() if path.suffix in (".bin", ".idx")] == []
