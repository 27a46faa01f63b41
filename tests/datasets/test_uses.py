"""The way back from tokens to samples finds exactly the samples that read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from megatron_snow.config import Blend, Curve, Phase, Workspace
from megatron_snow.datasets import PhaseData, tokenize_shards
from megatron_snow.datasets.uses import samples_with
from megatron_snow.pipeline import shards_in
from megatron_snow.tokenizers import load_tokenizer

SEQ_LENGTH, SAMPLES = 512, 900


@pytest.fixture(scope="module")
def workspace(grouped_shards: Path, code_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("run"))
    tokenize_shards(shards_in(grouped_shards), code_tokenizer, workspace.tokens("general"))
    tokenize_shards([grouped_shards / "Python-00001.parquet"], code_tokenizer, workspace.tokens("selected"))
    return workspace


MIXTURES: dict[str, dict[str, Any]] = {
    "one pass of several sources": {"data": (Blend("general"),)},
    "several passes": {"data": (Blend("selected"),)},
    "passes shuffled together": {"data": (Blend("selected"),), "repeat": "joint"},
    "two datasets": {"data": (Blend("general", 0.3), Blend("selected", 0.7))},
    "a part of a dataset": {"data": (Blend("general", tokens=100_000, epochs=2.0), Blend("selected"))},
    "packed": {"data": (Blend("general"),), "packing": "best_fit"},
    "packed passes": {"data": (Blend("selected"),), "packing": "best_fit", "repeat": "joint"},
}


@pytest.mark.parametrize("name", MIXTURES)
def test_the_samples_are_those_that_a_search_finds(workspace: Workspace, code_tokenizer: Path, name: str) -> None:
    phase = Phase("p", tokens=SEQ_LENGTH * SAMPLES, lr=Curve("constant", 0.1), **MIXTURES[name])
    tokenizer = load_tokenizer(code_tokenizer)
    data = PhaseData(phase, workspace=workspace, seq_length=SEQ_LENGTH, samples=SAMPLES, seed=3, tokenizer=tokenizer)
    read = [(i, data.locate(i)[0].path, span) for i in range(SAMPLES) for span in data.spans(i)]
    found_any = 0
    for source in data.sources:
        ends = (0, 1, 511, 512, 513, source.tokens // 3, source.tokens // 2, source.tokens - 2, source.tokens - 1)
        for first in ends:
            for count in (1, 700, 20_000):
                last = min(first + count, source.tokens)
                expected = {
                    i for i, path, span in read if path == source.path and span.first_token < last and span.first_token + span.count > first
                }
                assert samples_with(data, source.path, first, last - first) == sorted(expected)
                found_any += len(expected)
    assert found_any > 100
    assert samples_with(data, workspace.tokens("elsewhere") / "Python", 0, 10) == []
