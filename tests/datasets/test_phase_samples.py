"""What the samples of a phase are: fixed subsets read so many times, passes apart or together, packed pieces, documents known."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_snow.common.errors import UserError
from megatron_snow.config import Blend, Curve, Phase, Workspace
from megatron_snow.datasets import BatchPrinter, IndexedDataset, IndexedWriter, Lineage, PhaseData, rank_rows, tokenize_shards
from megatron_snow.datasets.segments import PADDING
from megatron_snow.pipeline import shards_in
from megatron_snow.tokenizers import Tokenizer, load_tokenizer

SEQ = 64
EOD = 0


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """numbered: 400 documents a language, of 10 to 150 tokens in C, twice that in Go, three times in Python."""
    workspace = Workspace(tmp_path_factory.mktemp("numbered"))
    lengths = np.random.default_rng(3).integers(10, 150, 400)
    for number, language in enumerate(("C", "Go", "Python")):
        prefix = workspace.tokens("numbered") / language
        prefix.parent.mkdir(parents=True, exist_ok=True)
        with IndexedWriter(prefix, "int32") as writer:
            for length in lengths * (number + 1):
                writer.append([*range(1, length), EOD])
                writer.end_document()
    return workspace


@pytest.fixture(scope="module")
def grouped(grouped_shards: Path, code_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("grouped"))
    tokenize_shards(shards_in(grouped_shards), code_tokenizer, workspace.tokens("general"))
    return workspace


def build(workspace: Workspace, *blends: Blend, samples: int, tokenizer: Tokenizer | None = None, seed: int = 7, **phase: Any) -> PhaseData:
    planned = Phase("p", blends, tokens=phase.pop("tokens", samples * SEQ), lr=Curve("constant", 1.0), **phase)
    return PhaseData(planned, workspace=workspace, seq_length=SEQ, samples=samples, seed=seed, tokenizer=tokenizer)


def targets(data: PhaseData, rows: range, source: int = 0) -> Counter[int]:
    """How often each token of the .bin is a target in these samples."""
    seen: Counter[int] = Counter()
    for i in rows:
        if data.locate(i)[0] is data.sources[source]:
            places = np.concatenate([np.arange(span.first_token, span.first_token + span.count) for span in data.spans(i)])
            seen.update(places[1:].tolist())
    return seen


def test_a_budget_is_the_same_subset_in_every_pass(workspace: Workspace) -> None:
    budget = Blend("numbered", tokens=30_000, epochs=4)
    samples = 4 * 30_000 // SEQ
    data = build(workspace, budget, samples=samples, tokens=0)
    assert sum(source.different for source in data.sources) == pytest.approx(30_000, rel=0.05)
    for number, source in enumerate(data.sources):
        assert source.epochs == pytest.approx(4, rel=0.06)
        seen = targets(data, range(samples), number)
        assert set(seen.values()) <= {2, 3, 4, 5}
        assert len(seen) == pytest.approx(source.different, abs=3 * SEQ)  # the tail of each pass is another one
    again = build(workspace, budget, samples=samples, tokens=0, seed=8)
    assert targets(again, range(samples), 2).keys() != targets(data, range(samples), 2).keys()


def test_epochs_are_apart_and_joint_passes_are_mixed(workspace: Workspace) -> None:
    """In the first quarter of four passes: each token once with `epochs`, some already twice with `joint`, each four times in the end."""
    one = build(workspace, Blend("numbered", epochs=1), samples=10, tokens=210_000).sources[2].samples_per_epoch
    only_python = {"languages": {"Python": 1.0}}
    apart, mixed = (build(workspace, Blend("numbered"), samples=4 * one, repeat=repeat, **only_python) for repeat in ("epochs", "joint"))
    assert set(targets(apart, range(one)).values()) == {1}
    first = targets(mixed, range(one))
    assert sum(count > 1 for count in first.values()) > 0.2 * len(first)
    for data in (apart, mixed):
        counts = targets(data, range(4 * one))
        assert sum(count == 4 for count in counts.values()) > 0.99 * len(counts)
    assert apart.locate(one)[1:] == (1, 0)
    assert mixed.locate(4 * one - 1)[1] == 0


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 9),
    repeat=st.sampled_from(["epochs", "joint"]),
    packing=st.sampled_from(["concatenate", "best_fit"]),
    stop=st.integers(0, 39),
)
def test_any_ranks_and_any_resume_read_the_same(
    workspace: Workspace, code_tokenizer: Path, seed: int, repeat: str, packing: str, stop: int
) -> None:
    """The sequence of samples of an unbroken run on one rank is that of dp 2, 4 and 8, and of a run resumed at any step."""

    def fresh() -> PhaseData:
        blends = Blend("numbered", tokens=20_000, epochs=2.5), Blend(str(workspace.tokens("numbered") / "Go"))
        phase = {"repeat": repeat, "packing": packing, "tokens": 320 * SEQ * 8}
        return build(workspace, *blends, samples=320, seed=seed, tokenizer=load_tokenizer(code_tokenizer), **phase)

    whole = fresh().read(range(320))
    for ranks in (2, 4, 8):
        resumed = [fresh() for _ in range(ranks)]
        for step in range(stop, min(stop + 3, 40)):
            parts = [data.read(rank_rows(step, 8, rank, ranks)) for rank, data in enumerate(resumed)]
            assert np.array_equal(np.concatenate([part.tokens for part in parts]), whole.tokens[8 * step : 8 * step + 8])
            assert np.array_equal(np.concatenate([part.segments for part in parts]), whole.segments[8 * step : 8 * step + 8])


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_no_repeat_and_no_gap_within_an_epoch(workspace: Workspace, code_tokenizer: Path, packing: str) -> None:
    probe = build(workspace, Blend(str(workspace.tokens("numbered") / "C")), samples=10, packing=packing)
    length = probe.sources[0].samples_per_epoch
    data = build(workspace, Blend(str(workspace.tokens("numbered") / "C")), samples=2 * length, packing=packing)
    there = data.sources[0].tokens
    for first in (0, length):
        spans = [span for i in range(first, first + length) for span in data.spans(i)]
        places = np.sort(np.concatenate([np.arange(span.first_token, span.first_token + span.count) for span in spans]))
        if packing == "best_fit":
            assert np.array_equal(places, np.arange(there))  # every token in exactly one sample
        else:
            repeated = length - 1  # neighbours share a token
            assert len(np.unique(places)) == len(places) - repeated
            assert there - len(np.unique(places)) < SEQ


def test_packed_samples_are_filled_up_and_the_rest_is_no_document(workspace: Workspace, code_tokenizer: Path) -> None:
    tokenizer = load_tokenizer(code_tokenizer)
    data = build(workspace, Blend("numbered"), samples=200, packing="best_fit", tokenizer=tokenizer)
    batch = data.read(range(200))
    padded = batch.segments == PADDING
    assert 0 < padded.mean() < 0.2
    assert (batch.tokens[padded] == tokenizer.eod).all()
    for i in range(200):
        read = sum(span.count for span in data.spans(i))
        assert padded[i].sum() == SEQ + 1 - read
        assert padded[i, read:].all()
    with pytest.raises(UserError, match=r"phases\.p\.packing: best_fit fills samples up, which takes the tokenizer"):
        build(workspace, Blend("numbered"), samples=200, packing="best_fit").read(range(200))


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_segments_are_the_files_of_a_group(grouped: Workspace, code_tokenizer: Path, packing: str) -> None:
    """One number a file, as the lineage says, though a group is one sequence."""
    data = build(grouped, Blend("general"), samples=300, packing=packing, tokenizer=load_tokenizer(code_tokenizer))
    batch = data.read(range(300))
    lineages = {source.path: Lineage(source.path) for source in data.sources}
    for i in range(300):
        expected = []
        for span in data.spans(i):
            files = [lineages[data.locate(i)[0].path].number_of(token) for token in range(span.first_token, span.first_token + span.count)]
            begins = np.diff(files, prepend=-1) != 0
            begins[0] = True
            expected += (np.cumsum(begins) + (expected[-1] if expected else -1)).tolist()
        assert batch.segments[i].tolist() == expected + [PADDING] * (SEQ + 1 - len(expected))
    assert batch.segments.max() > 0


def test_segments_of_datasets_by_others(workspace: Workspace, code_tokenizer: Path, tmp_path: Path) -> None:
    """By the documents of the .idx; with a tokenizer also by its end-of-document inside a sequence."""
    tokenizer = load_tokenizer(code_tokenizer)
    with IndexedWriter(tmp_path / "Python", "uint16") as writer:
        for _ in range(40):
            writer.append([*[5] * 20, tokenizer.eod, *[6] * 30, tokenizer.eod])
            writer.end_document()
    plain, told = (
        build(workspace, Blend(str(tmp_path / "Python")), samples=30, tokenizer=known).read(range(30)) for known in (None, tokenizer)
    )
    for tokens, segments in zip(plain.tokens, plain.segments):
        assert np.array_equal(np.flatnonzero(np.diff(segments)), np.flatnonzero((tokens[:-1] == tokenizer.eod) & (tokens[1:] == 5)))
    for tokens, segments in zip(told.tokens, told.segments):
        assert np.array_equal(np.flatnonzero(np.diff(segments)), np.flatnonzero(tokens[:-1] == tokenizer.eod))


def test_a_sample_says_where_in_its_passes_it_stands(workspace: Workspace, code_tokenizer: Path) -> None:
    c = Blend(str(workspace.tokens("numbered") / "C"))
    one = build(workspace, c, samples=10).sources[0].samples_per_epoch
    for repeat, last in (("epochs", f"epoch 3, position {one - 1} of {one}"), ("joint", "4 passes together, position ")):
        data = build(workspace, c, samples=4 * one, repeat=repeat)
        text = BatchPrinter(data, load_tokenizer(code_tokenizer)).text(4 * one - 1)
        assert text.startswith(f"=== sample {4 * one - 1}: {c.dataset}/C, {last}")


def test_starts_that_lie_are_refused(grouped: Workspace, code_tokenizer: Path, tmp_path: Path) -> None:
    for suffix in (".bin", ".idx"):
        (tmp_path / f"Python{suffix}").write_bytes((grouped.tokens("general") / f"Python{suffix}").read_bytes())
    there = IndexedDataset(tmp_path / "Python").num_tokens
    for starts, message in (
        (np.array([0, 50, 20]), "do not follow each other"),
        (np.array([-1, 5]), "do not follow each other"),
        (np.array([0, there + 1]), "do not follow each other"),
        (np.array([0.5]), r"float64\[1\] where int64\[files\] belongs"),
        (np.array([[0, 5]]), r"int64\[1, 2\] where int64\[files\] belongs"),
    ):
        np.save(tmp_path / "Python.starts.npy", starts)
        with pytest.raises(UserError, match=message):
            build(grouped, Blend(f"{tmp_path}/Python"), samples=9).read(range(9))
    (tmp_path / "Python.starts.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match="not an array of NumPy"):
        build(grouped, Blend(f"{tmp_path}/Python"), samples=9).read(range(9))
