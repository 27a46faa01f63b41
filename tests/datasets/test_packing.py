"""Best-fit packing: every token once, no document cut that fits, never more than the room there is, the same in C++ and Python."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_snow.datasets import packing
from megatron_snow.datasets.order import SequenceOrder, subset_of
from megatron_snow.datasets.sample_index import SampleIndex
from tests.datasets.made import switch_off_native, written

LENGTHS = st.lists(st.integers(0, 40) | st.sampled_from([0, 1, 16, 17, 300]), min_size=1, max_size=60)


@settings(deadline=None)
@given(lengths=LENGTHS, seq_length=st.integers(1, 70), passes=st.integers(1, 2), part=st.floats(0.1, 1))
def test_every_token_is_in_one_sample(lengths: list[int], seq_length: int, passes: int, part: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = written(Path(folder, "Python"), lengths)
        subset = subset_of(data.sequence_lengths, round(part * sum(lengths)), key=3) if part < 0.9 else None
        files = []
        for native in (True, False):
            with pytest.MonkeyPatch.context() as patch:
                if not native:
                    switch_off_native(patch)
                index = SampleIndex.open(
                    data, seq_length=seq_length, key=1, passes=passes, packing="best_fit", documents=subset, cache=Path(folder, str(native))
                )
                spans = [index.spans(k) for k in range(len(index))]
                rows = np.full((len(index), seq_length + 1), -7)
                filled = index.read_rows(range(len(index)), rows)
            assert filled.tolist() == [sum(span.count for span in row) for row in spans]
            assert (filled >= 1).all()
            for row, row_spans, count in zip(rows, spans, filled):
                places = [at for span in row_spans for at in range(span.first_token, span.first_token + span.count)]
                assert row.tolist() == data.tokens[places].tolist() + [-7] * (seq_length + 1 - count)
            files.append(index.path.read_bytes())
        assert files[0] == files[1]
        check_pieces(data, spans, seq_length + 1, passes, subset)
        assert index.padding_share == pytest.approx(1 - filled.sum() / max(1, rows.size) if len(index) else 0.0)


def check_pieces(data, spans, capacity, passes, subset) -> None:  # type: ignore[no-untyped-def]
    """The pieces are the sequences of the subset, cut at multiples of the capacity, each `passes` times."""
    found = sorted((span.first_token, span.count) for row in spans for span in row)
    read = SequenceOrder(len(data), 0, 1, subset)
    sequences = [
        (int(data.sequence_pointers[s]) // data.dtype.itemsize, int(data.sequence_lengths[s])) for s in map(read, range(len(read)))
    ]
    pieces = [(start + at, min(capacity, size - at)) for start, size in sequences for at in range(0, size, capacity)]
    assert found == sorted(pieces * passes)


@given(lengths=st.lists(st.integers(1, 99), max_size=200))
def test_fit_is_best_fit_decreasing(lengths: list[int]) -> None:
    """Against the definition, tried on all samples: each piece where it leaves the least room, a new sample only if none has it."""
    lengths = sorted(lengths, reverse=True)
    rooms: list[int] = []
    for length, sample in zip(lengths, packing._fit(lengths, 100).tolist()):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            assert rooms[sample] == min(fitting)
        else:
            assert sample == len(rooms)
            rooms.append(100)
        rooms[sample] -= length


def test_padding_of_code_is_small(tmp_path: Path) -> None:
    """Lengths of documents as they are (log-normal): the paper packs C4 into 0.01 % more samples than there are tokens for."""
    lengths = np.random.default_rng(1).lognormal(6.5, 1.2, 20_000).astype(int) + 1
    index = SampleIndex.open(written(tmp_path / "Python", lengths.tolist(), 4), seq_length=2048, key=1, packing="best_fit")
    assert 0 <= index.padding_share < 0.002
    assert len(index) >= lengths.sum() / 2049


def test_another_pass_packs_other_documents_together(tmp_path: Path) -> None:
    data = written(tmp_path / "Python", [10] * 100)
    together = []
    for key in (1, 2):
        index = SampleIndex.open(data, seq_length=49, key=key, packing="best_fit")
        assert len(index) == 20
        together.append({frozenset(span.first_token for span in index.spans(k)) for k in range(20)})
    assert together[0] != together[1]


def test_numbers_over_32_bits_give_the_same_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(tmp_path / "Python", [*range(200), 3000])
    narrow, wide = [], []
    for spans, name in ((narrow, "narrow"), (wide, "wide")):
        index = SampleIndex.open(data, seq_length=63, key=1, packing="best_fit", cache=tmp_path / name)
        spans += [index.spans(k) for k in range(len(index))]
        monkeypatch.setattr(packing, "row_dtype", lambda sequences: np.dtype(np.uint64))
    assert index.rows.dtype == np.uint64
    assert wide == narrow
