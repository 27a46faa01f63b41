"""Repository and path before a text: of whole repositories, by share, as special tokens, and every token still leads to its file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from megatron_snow.config import Blend, Corpus, Curve, Phase, Workspace
from megatron_snow.corpus.grouping.headers import headers_of
from megatron_snow.corpus.stages import group
from megatron_snow.datasets import BatchPrinter, IndexedDataset, Lineage, PhaseData, tokenize_shards
from megatron_snow.pipeline import DOCUMENT, ShardWriter, read_documents, shards_in
from megatron_snow.tokenizers import load_tokenizer


@pytest.fixture(scope="module")
def ungrouped(code_documents: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    shard = tmp_path_factory.mktemp("documents") / "documents.parquet"
    with ShardWriter(shard, DOCUMENT.append(pa.field("group", pa.string()))) as writer:
        for document in code_documents:
            provenance = f"{document['repository']}/{document['path']}"
            writer.write({**document, "provenance": provenance, "group": "another's"})
    return shard


def grouped(ungrouped: Path, folder: Path, share: float, grouping: Any = "language-repo", seed: int = 1) -> list[dict[str, Any]]:
    corpus = Corpus(held_out_share=0.1, header_share=share, grouping=grouping)
    group(corpus, seed, [ungrouped], folder / "grouped", folder / "held")
    return [row for shard in shards_in(folder / "grouped") for row in read_documents(shard)]


def test_all_or_no_files_of_a_repository_have_a_header(ungrouped: Path, tmp_path: Path) -> None:
    rows = grouped(ungrouped, tmp_path / "half", 0.5)
    named: dict[str, set[bool]] = {}
    for row in rows:
        named.setdefault(row["repository"], set()).add(bool(row["header"]))
    assert all(len(kinds) == 1 for kinds in named.values())
    assert len({kind for kinds in named.values() for kind in kinds}) == 2
    other = {row["repository"] for row in grouped(ungrouped, tmp_path / "other", 0.5, seed=3) if row["header"]}
    assert other != {name for name, kinds in named.items() if True in kinds}
    assert not any(row["header"] for row in grouped(ungrouped, tmp_path / "none", 0.0))
    assert all(row["header"] for row in grouped(ungrouped, tmp_path / "all", 1.0))
    held_out = [row for shard in shards_in(tmp_path / "all" / "held") for row in read_documents(shard)]
    assert held_out
    assert not any(row["header"] for row in held_out)


@pytest.mark.parametrize("grouping", ["language-repo", "repo", "file"])
def test_the_first_file_of_a_group_names_the_repository(ungrouped: Path, tmp_path: Path, grouping: str) -> None:
    plain = {row["provenance"]: row for row in grouped(ungrouped, tmp_path / "plain", 0.0, grouping)}
    before = ""
    for row in grouped(ungrouped, tmp_path / "named", 1.0, grouping):
        name = f"<repo_name>{row['repository']}<file_sep>" if row["group"] != before else ""
        assert row["header"] == f"{name}{row['path']}\n"
        assert {**row, "header": ""} == plain[row["provenance"]]
        before = row["group"]


def test_a_name_spells_no_token_and_ends_no_line() -> None:
    table = pa.table({"repository": ["a/<file_sep>b", "c"], "path": ["x\ny.py", "<repo_name>d<file_sep>e.py"]})
    headers = headers_of(table, np.array([True, False]), 1.0, 1).to_pylist()
    assert headers == ["<repo_name>a/ b<file_sep>x y.py\n", " d e.py\n"]


def test_show_batch_shows_the_tokens_of_headers(ungrouped: Path, tmp_path: Path, code_tokenizer: Path) -> None:
    rows = grouped(ungrouped, tmp_path, 1.0, "file")
    tokenize_shards(shards_in(tmp_path / "grouped"), code_tokenizer, tmp_path / "tokens")
    phase = Phase("p", (Blend(str(tmp_path / "tokens")),), 51_200, lr=Curve("constant", 0.1))
    data = PhaseData(phase, workspace=Workspace(tmp_path), seq_length=512, samples=400, seed=1)
    printer = BatchPrinter(data, load_tokenizer(code_tokenizer))
    text = "".join(printer.text(i) for i in range(400))
    shown = [(row["repository"], row["path"]) for row in rows if row["header"].startswith("<repo_name>") and row["header"] in text]
    assert len(shown) > 9  # others are cut by the border of a sample


def test_tokens_are_header_and_content_and_lead_back(ungrouped: Path, tmp_path: Path, code_tokenizer: Path) -> None:
    tokenizer = load_tokenizer(code_tokenizer)
    rows = {(row["repository"], row["path"]): row for row in grouped(ungrouped, tmp_path, 0.5)}
    tokenize_shards(shards_in(tmp_path / "grouped"), code_tokenizer, tmp_path / "tokens")
    found = {"": 0, "path": 0, "repository": 0}
    for language in ("Python", "C"):
        dataset, lineage = IndexedDataset(tmp_path / "tokens" / language), Lineage(tmp_path / "tokens" / language)
        origins = lineage.between(0, dataset.num_tokens)
        starts = [*(origin.token_start for origin in origins), dataset.num_tokens]
        for origin, (start, end) in zip(origins, pairwise(starts)):
            row = rows[origin.repository, origin.path]
            names: list[int] = []
            if row["header"].startswith("<repo_name>"):
                repository = tokenizer.encode(row["repository"])
                names = [tokenizer.id_of("<repo_name>"), *repository, tokenizer.file_separator]
            path = f"{row['path']}\n" if row["header"] else ""
            assert dataset.read(start, end - start - 1).tolist() == names + tokenizer.encode(path + row["content"])
            found["repository" if names else "path" if path else ""] += 1
            assert lineage.at(start).id == lineage.at(end - 1).id == row["id"]
    assert all(found.values())
