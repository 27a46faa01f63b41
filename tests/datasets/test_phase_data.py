"""The data of a phase: shares, epochs, the same samples whoever asks, and grouping that survives."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from megatron_snow.common.errors import UserError
from megatron_snow.config import Blend, Curve, Phase, Workspace
from megatron_snow.datasets import IndexedDataset, IndexedWriter, Lineage, PhaseData, rank_rows, tokenize_shards
from megatron_snow.pipeline import read_table, shards_in, write_table

SEQ = 128


@pytest.fixture(scope="module")
def workspace(grouped_shards: Path, code_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """general: all; selected: Python alone; empty: a stage that accepted nothing."""
    workspace = Workspace(tmp_path_factory.mktemp("run"))
    tokenize_shards(shards_in(grouped_shards), code_tokenizer, workspace.tokens("general"))
    tokenize_shards([grouped_shards / "Python-00001.parquet"], code_tokenizer, workspace.tokens("selected"))
    tokenize_shards([], code_tokenizer, workspace.tokens("empty"))
    return workspace


@pytest.fixture
def phase_data(workspace: Workspace) -> Callable[..., PhaseData]:
    def build(*blends: Blend, samples: int = 600, seed: int = 7, seq_length: int = SEQ, **languages: float) -> PhaseData:
        phase = Phase("general", blends, tokens=1, lr=Curve("constant", 1.0), languages=languages)
        return PhaseData(phase, workspace=workspace, seq_length=seq_length, samples=samples, seed=seed)

    return build


def test_languages_share_by_tokens(phase_data: Callable[..., PhaseData], workspace: Workspace) -> None:
    data = phase_data(Blend("general"))
    tokens = {language: IndexedDataset(workspace.tokens("general") / language).num_tokens for language in ("C", "Python")}
    assert [source.name for source in data.sources] == ["general/C", "general/Python"]
    for source in data.sources:
        assert source.share == pytest.approx(tokens[source.language] / sum(tokens.values()))
        assert source.samples == pytest.approx(source.share * 600, abs=1)


def test_shares_of_datasets_and_targets(phase_data: Callable[..., PhaseData]) -> None:
    shares = {source.name: source.share for source in phase_data(Blend("general", 3.0), Blend("selected", 1.0)).sources}
    assert shares["selected/Python"] == pytest.approx(0.25)
    fixed = phase_data(Blend("general", 3.0), Blend("selected", 1.0), Python=0.5)
    assert sum(source.samples for source in fixed.sources if source.language == "Python") == pytest.approx(300, abs=2)


def test_epochs_are_passes(phase_data: Callable[..., PhaseData]) -> None:
    """Every sample of a source once an epoch, before the next epoch begins; epochs in another order."""
    length = phase_data(Blend("selected"), seq_length=512).sources[0].samples_per_epoch
    data = phase_data(Blend("selected"), seq_length=512, samples=3 * length)
    assert data.sources[0].epochs == 3
    firsts = [data.spans(i)[0].first_token for i in range(3 * length)]
    passes = [firsts[:length], firsts[length : 2 * length], firsts[2 * length :]]
    assert all(len(set(one)) == length for one in passes)
    assert passes[0] != passes[1] != passes[2]
    assert [data.locate(i)[1:] for i in (0, length - 1, length, 3 * length - 1)] == [(0, 0), (0, length - 1), (1, 0), (2, length - 1)]


def test_the_order_is_a_function_of_the_seed_and_the_number(phase_data: Callable[..., PhaseData]) -> None:
    blends = Blend("general"), Blend("selected")
    whole = phase_data(*blends).read(range(600)).tokens
    assert whole.shape == (600, SEQ + 1)
    assert whole.dtype == np.int64
    backwards = phase_data(*blends, samples=700)  # a longer phase, read from the end
    assert np.array_equal(np.stack([backwards.sample(i) for i in reversed(range(600))])[::-1], whole)
    assert not np.array_equal(phase_data(*blends, seed=8).read(range(600)).tokens, whole)


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_any_number_of_ranks_reads_the_same_batches(phase_data: Callable[..., PhaseData], ranks: int) -> None:
    data = phase_data(Blend("general"))
    for step in (0, 5):
        parts = [phase_data(Blend("general")).read(rank_rows(step, 16, rank, ranks)).tokens for rank in range(ranks)]
        assert np.array_equal(np.concatenate(parts), data.read(range(step * 16, step * 16 + 16)).tokens)


def test_a_sample_is_what_its_spans_say(phase_data: Callable[..., PhaseData], workspace: Workspace) -> None:
    data = phase_data(Blend("general"))
    for i in range(0, 600, 37):
        dataset = IndexedDataset(data.locate(i)[0].path)
        assert np.array_equal(np.concatenate([dataset.read(span.first_token, span.count) for span in data.spans(i)]), data.sample(i))


def test_grouping_survives_into_training(
    phase_data: Callable[..., PhaseData], grouped_shards: Path, code_tokenizer: Path, workspace: Workspace
) -> None:
    """Share of neighbouring tokens at a file's end whose next file is of the same repository: near 1 grouped, chance ungrouped."""
    shuffled = Workspace(workspace.root.with_name("ungrouped"))
    _without_groups(grouped_shards, shuffled.corpus("grouped"))
    tokenize_shards(shards_in(shuffled.corpus("grouped")), code_tokenizer, shuffled.tokens("general"))
    phase = Phase("general", (Blend("general"),), tokens=1, lr=Curve("constant", 1.0))
    kept, lost = (
        _same_repository(PhaseData(phase, workspace=place, seq_length=2048, samples=200, seed=1)) for place in (workspace, shuffled)
    )
    assert kept > 0.9
    assert lost < 0.5


def _without_groups(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for shard in shards_in(source):
        table = read_table(shard)
        write_table(table.set_column(table.column_names.index("group"), pa.field("group", pa.string()), table["id"]), target / shard.name)


def _same_repository(data: PhaseData) -> float:
    same = pairs = 0
    for i in range(len(data)):
        lineage = Lineage(data.locate(i)[0].path)
        repositories = [origin.repository for span in data.spans(i) for origin in lineage.between(span.first_token, span.count)]
        same += sum(a == b for a, b in pairwise(repositories))
        pairs += len(repositories) - 1
    return same / pairs


def test_an_empty_dataset_is_left_out(phase_data: Callable[..., PhaseData]) -> None:
    data = phase_data(Blend("empty", 0.5), Blend("selected", 0.5))
    assert data.notes == ["empty is empty; the others take its share"]
    assert [source.share for source in data.sources] == [1.0]
    with pytest.raises(UserError, match=r"phases\.general\.data: no tokens in empty; run the stages"):
        phase_data(Blend("empty"))


def test_a_source_under_one_sample_is_left_out(phase_data: Callable[..., PhaseData], tmp_path: Path) -> None:
    with IndexedWriter(tmp_path / "tiny", "uint16") as writer:
        writer.append(range(SEQ))
    data = phase_data(Blend("general"), Blend(str(tmp_path)))
    assert data.notes == [f"{tmp_path}/tiny has 128 tokens, under one sample of 129; left out"]
    assert [source.name for source in data.sources] == ["general/C", "general/Python"]
    with pytest.raises(UserError, match="no source has the 129 tokens of one sample"):
        phase_data(Blend(str(tmp_path / "tiny")))


def test_a_dataset_that_is_not_there(phase_data: Callable[..., PhaseData]) -> None:
    with pytest.raises(UserError, match=r"phases\.general\.data: dataset synthetic: no \.idx in .*tokens/synthetic; run the stage"):
        phase_data(Blend("general"), Blend("synthetic"))


def test_a_target_language_without_data(phase_data: Callable[..., PhaseData]) -> None:
    with pytest.raises(UserError, match=r"phases\.general\.languages\.Java: 0\.3, but no dataset of the phase has that language"):
        phase_data(Blend("general"), Java=0.3)


def test_numbers_outside_the_phase(phase_data: Callable[..., PhaseData]) -> None:
    for i in (-1, 600):
        with pytest.raises(IndexError, match="of the 600 of phase general"):
            phase_data(Blend("general")).sample(i)
