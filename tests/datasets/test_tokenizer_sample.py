"""The sample that a tokenizer is trained on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.datasets import train_on_sample, train_tokenizer
from megatron_snow.datasets.tokenizer_sample import choose_balanced, quotas
from megatron_snow.pipeline import shards_in
from megatron_snow.tokenizers import load_tokenizer


def test_quotas_go_with_the_root_and_small_languages_whole() -> None:
    quota = quotas({"Python": 9_000_000, "C": 1_000_000, "Lua": 100}, 400_100)
    assert quota == pytest.approx({"Lua": 100, "Python": 300_000, "C": 100_000})
    assert quotas({"Python": 5, "C": 7}, 100) == {"Python": 5, "C": 7}
    assert quotas({"Python": 0}, 100) == {"Python": 0}


def test_a_sample_is_balanced_and_seeded() -> None:
    documents = [("Python", 1000)] * 900 + [("C", 1000)] * 100
    chosen = choose_balanced(documents, 40_000, seed=1)
    assert Counter(documents[i][0] for i in chosen) == {"Python": 30, "C": 10}
    assert chosen == choose_balanced(documents, 40_000, seed=1) != choose_balanced(documents, 40_000, seed=2)


def test_training_is_a_stage(grouped_shards: Path, tmp_path: Path) -> None:
    settings = {"vocab_size": 700, "train_bytes": 300_000, "seed": 3}
    manifest = train_tokenizer(shards_in(grouped_shards), tmp_path / "a", **settings)
    assert 200_000 < manifest.counts["bytes"] <= 300_000
    assert load_tokenizer(tmp_path / "a" / "tokenizer.model").vocab_size == 700
    assert train_tokenizer(shards_in(grouped_shards), tmp_path / "a", **settings) == manifest  # seconds and all: it was not run again
    assert train_tokenizer(shards_in(grouped_shards), tmp_path / "b", **settings).outputs == manifest.outputs
    assert train_tokenizer(shards_in(grouped_shards), tmp_path / "b", **{**settings, "seed": 4}).outputs != manifest.outputs


def test_json_lines(code_documents: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "code.jsonl"
    path.write_text("".join(json.dumps({"text": document["content"]}) + "\n" for document in code_documents[:60]))
    counts = train_on_sample([path], tmp_path / "x.model", vocab_size=600, train_bytes=10**9, seed=1, key="text")
    assert counts["documents"] == sum(document["size"] > 0 for document in code_documents[:60])
    with pytest.raises(UserError, match=r"code\.jsonl:1: no text under the key 'content'"):
        train_on_sample([path], tmp_path / "x.model", vocab_size=600, train_bytes=10**9, seed=1)
    with pytest.raises(UserError, match="no text to train a tokenizer on"):
        train_on_sample([], tmp_path / "x.model", vocab_size=600, train_bytes=1, seed=1)
