"""Fill in the middle in the samples of a phase, from real code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import sentencepiece

from megatron_snow.common.errors import UserError
from megatron_snow.config import Blend, Curve, FillInMiddle, Phase, Workspace
from megatron_snow.datasets import BatchPrinter, PhaseData, tokenize_shards
from megatron_snow.datasets.phase_data import Batch
from megatron_snow.pipeline import shards_in
from megatron_snow.tokenizers import FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, Tokenizer, load_tokenizer

SEQ, SAMPLES = 512, 64


@pytest.fixture(scope="module")
def workspace(grouped_shards: Path, code_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("run"))
    tokenize_shards(shards_in(grouped_shards), code_tokenizer, workspace.tokens("general"))
    return workspace


@pytest.fixture(scope="module")
def tokenizer(code_tokenizer: Path) -> Tokenizer:
    return load_tokenizer(code_tokenizer)


def phase(fim: FillInMiddle, packing: Literal["concatenate", "best_fit"] = "concatenate") -> Phase:
    return Phase("general", (Blend("general"),), tokens=1, lr=Curve("constant", 1.0), packing=packing, fim=fim)


def opened(phase: Phase, workspace: Workspace, tokenizer: Tokenizer | None) -> PhaseData:
    return PhaseData(phase, workspace=workspace, seq_length=SEQ, samples=SAMPLES, seed=7, tokenizer=tokenizer)


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
@pytest.mark.parametrize("unit", ["file", "document"])
def test_samples_are_permuted_and_can_be_undone(workspace: Workspace, tokenizer: Tokenizer, unit: str, packing: str) -> None:
    plain = opened(phase(FillInMiddle(), packing), workspace, tokenizer).read(range(SAMPLES))  # type: ignore[arg-type]
    made = opened(phase(FillInMiddle(0.5, 0.5, unit), packing), workspace, tokenizer).read(range(SAMPLES))  # type: ignore[arg-type]
    prefix, middle, suffix = (tokenizer.id_of(name) for name in (FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX))
    assert (made.tokens == prefix).sum() > SAMPLES / 10
    for before, after in zip(plain.tokens, made.tokens):
        documents = (after == prefix).sum()
        assert (after == middle).sum() == (after == suffix).sum() == documents
        rest = after[~np.isin(after, [prefix, middle, suffix])]
        assert sorted(rest) == sorted(before[: len(before) - 3 * documents])
    untouched = (made.tokens != prefix).all(axis=1)
    assert np.array_equal(made.tokens[untouched], plain.tokens[untouched])
    assert np.array_equal(made.segments[untouched], plain.segments[untouched])


def test_any_rank_and_a_resumed_run_read_the_same(workspace: Workspace, tokenizer: Tokenizer) -> None:
    fim = phase(FillInMiddle(0.5))
    whole = opened(fim, workspace, tokenizer).read(range(SAMPLES))
    resumed = opened(fim, workspace, tokenizer)
    for ranks in (2, 8):
        for rank in range(ranks):
            rows = range(rank, SAMPLES, ranks)[::-1]
            part = resumed.read(rows)
            assert np.array_equal(part.tokens, whole.tokens[list(rows)])
            assert np.array_equal(part.segments, whole.segments[list(rows)])


def test_each_pass_is_cut_elsewhere(workspace: Workspace, tokenizer: Tokenizer) -> None:
    """Two phases of other names have other keys; a sample has its number."""
    one = opened(phase(FillInMiddle(1.0)), workspace, tokenizer)
    first = fingerprint(one.read(range(SAMPLES)), tokenizer)
    two = opened(replace(phase(FillInMiddle(1.0)), name="continued"), workspace, tokenizer)
    assert first != fingerprint(two.read(range(SAMPLES)), tokenizer)


def fingerprint(batch: Batch, tokenizer: Tokenizer) -> bytes:
    return np.flatnonzero(batch.tokens == tokenizer.id_of(FIM_MIDDLE)).tobytes()


def test_a_vocabulary_without_the_tokens_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("def f(x):\n    return x + 1\n" * 200)
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(tmp_path / "plain"), vocab_size=300, model_type="bpe", byte_fallback=True, minloglevel=2,
        hard_vocab_limit=False,
    )  # fmt: skip
    with pytest.raises(UserError, match=r"phases\.general\.fim\.rate: .*plain\.model has no <fim_prefix>, <fim_middle>, <fim_suffix>"):
        opened(phase(FillInMiddle(0.5)), workspace, load_tokenizer(tmp_path / "plain.model"))
    with pytest.raises(UserError, match=r"phases\.general\.fim\.rate: fill in the middle takes the tokenizer"):
        opened(phase(FillInMiddle(0.5)), workspace, None)


@pytest.mark.parametrize("unit", ["file", "document"])
def test_a_sample_is_printed_with_its_sentinels(workspace: Workspace, tokenizer: Tokenizer, unit: Literal["file", "document"]) -> None:
    data = opened(phase(FillInMiddle(1.0, 0.0, unit)), workspace, tokenizer)
    for i in range(8):
        printed = BatchPrinter(data, tokenizer).text(i)
        batch = data.read([i])
        assert printed.count(FIM_MIDDLE) == (batch.tokens == tokenizer.id_of(FIM_MIDDLE)).sum() > 0
        shown = [
            int(line.rpartition(", ")[2].split()[0]) for line in printed.splitlines() if line.startswith("«") and line.endswith("tokens»")
        ]
        assert sum(shown) == SEQ + 1
        if unit == "file":
            assert shown == np.bincount(batch.segments[0]).tolist()
