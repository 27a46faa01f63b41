"""The sample that a tokenizer is trained on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
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
    languages, sizes = np.array([0] * 900 + [1] * 100), np.full(1000, 1000)
    chosen = choose_balanced(languages, sizes, 40_000, seed=1)
    assert Counter(languages[chosen].tolist()) == {0: 30, 1: 10}
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert np.array_equal(chosen, choose_balanced(languages, sizes, 40_000, seed=1))
    assert not np.array_equal(chosen, choose_balanced(languages, sizes, 40_000, seed=2))


def test_a_sample_of_many_documents_fills_its_budget() -> None:
    """Only some of the documents are looked at one by one: they must be enough."""
    generator = np.random.default_rng(0)
    languages = generator.choice(40, 300_000, p=np.arange(1, 41) / 820).astype(np.int16)
    sizes = np.minimum(generator.lognormal(8, 1.5, 300_000), 1e6).astype(np.int32) * (generator.random(300_000) > 0.01)
    chosen = choose_balanced(languages, sizes, 30_000_000, seed=1)
    quota = quotas(dict(enumerate(np.bincount(languages, weights=sizes).tolist())), 30_000_000)
    filled = np.bincount(languages[chosen], weights=sizes[chosen])
    assert all(0.98 * quota[code] < filled[code] <= quota[code] for code in range(40))
    assert sizes[chosen].min() > 0


def test_training_is_a_stage(grouped_shards: Path, tmp_path: Path) -> None:
    settings = {"vocab_size": 700, "train_bytes": 300_000, "seed": 3}
    manifest = train_tokenizer(shards_in(grouped_shards), tmp_path / "a", **settings)
    assert 200_000 < manifest.counts["bytes"] <= 300_000
    assert load_tokenizer(tmp_path / "a" / "tokenizer.model").vocab_size == 700
    assert train_tokenizer(shards_in(grouped_shards), tmp_path / "a", **settings) == manifest  # seconds and all: it was not run again
    assert train_tokenizer(shards_in(grouped_shards), tmp_path / "b", **settings).outputs == manifest.outputs
    assert train_tokenizer(shards_in(grouped_shards), tmp_path / "b", **{**settings, "seed": 4}).outputs != manifest.outputs


def test_a_byte_level_tokenizer_is_trained_in_its_place(grouped_shards: Path, tmp_path: Path) -> None:
    settings = {"vocab_size": 700, "train_bytes": 300_000, "seed": 3}
    train_tokenizer(shards_in(grouped_shards), tmp_path, **settings)
    train_tokenizer(shards_in(grouped_shards), tmp_path, **settings, kind="byte_level")
    assert not (tmp_path / "tokenizer.model").exists()
    assert load_tokenizer(tmp_path, 700).path == tmp_path / "tokenizer.json"


def test_json_lines(code_documents: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "code.jsonl"
    path.write_text("".join(json.dumps({"text": document["content"]}) + "\n" for document in code_documents[:60]))
    counts = train_on_sample([path], tmp_path / "x.model", vocab_size=600, train_bytes=10**9, seed=1, key="text")
    assert counts["documents"] == sum(document["size"] > 0 for document in code_documents[:60])
    with pytest.raises(UserError, match=r"code\.jsonl: the line at byte 0 has no text under the key 'content' .* with --json-key$"):
        train_on_sample([path], tmp_path / "x.model", vocab_size=600, train_bytes=10**9, seed=1)
    with pytest.raises(UserError, match="no text to train a tokenizer on"):
        train_on_sample([], tmp_path / "x.model", vocab_size=600, train_bytes=1, seed=1)
