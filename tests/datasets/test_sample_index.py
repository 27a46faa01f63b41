"""Concatenated samples: what Megatron's GPTDataset cuts from the same order of sequences, the same in C++ and Python."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_snow.common.errors import UserError
from megatron_snow.common.native import load_native
from megatron_snow.datasets import IndexedDataset, concatenation, rank_rows
from megatron_snow.datasets.order import Permutation, SequenceOrder, Subset, derive_key, samples_per_epoch, subset_of
from megatron_snow.datasets.sample_index import SampleIndex
from tests.datasets.made import switch_off_native, written

LENGTHS = st.lists(st.integers(0, 40) | st.sampled_from([0, 1, 16, 17, 300]), min_size=1, max_size=30)


@pytest.fixture(params=["C++", "Python"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "Python":
        switch_off_native(monkeypatch)
    elif load_native()[0] is None:
        pytest.skip(load_native()[1])
    return request.param


def stream(data: IndexedDataset, key: int, passes: int = 1, subset: Subset | None = None) -> np.ndarray:
    """Where the tokens lie, in the order of training."""
    order = SequenceOrder(len(data), derive_key("sequences", key), passes, subset)
    starts, sizes = data.sequence_pointers // data.dtype.itemsize, data.sequence_lengths
    pieces = [np.arange(starts[s], starts[s] + sizes[s]) for s in map(order, range(len(order)))]
    return np.concatenate([np.zeros(0, np.int64), *pieces])


def rows_of(index: SampleIndex) -> np.ndarray:
    rows = np.full((len(index), index.seq_length + 1), -7)
    assert (index.read_rows(range(len(index)), rows) == index.seq_length + 1).all()
    return rows


@settings(deadline=None)
@given(
    lengths=LENGTHS,
    seq_length=st.integers(1, 20),
    key=st.integers(0, 99),
    passes=st.integers(1, 3),
    part=st.floats(0.1, 1),
    code=st.sampled_from([2, 3, 4, 5, 8]),
)
def test_samples_are_cut_from_the_stream(lengths: list[int], seq_length: int, key: int, passes: int, part: float, code: int) -> None:
    """Sample k is tokens [j * seq_length, (j + 1) * seq_length] of the stream, j = order(k): no gap, no repeat, no tail."""
    lengths = [min(length, 4) for length in lengths] if code == 2 else lengths  # int8
    with tempfile.TemporaryDirectory() as folder:
        data = written(Path(folder, "Python"), lengths, code)
        subset = subset_of(data.sequence_lengths, round(part * sum(lengths)), key=3) if part < 0.9 else None
        expected = stream(data, key, passes, subset)
        samples = samples_per_epoch(len(expected), seq_length)
        order = Permutation(samples, derive_key("samples", key))
        choice = {"seq_length": seq_length, "key": key, "passes": passes, "documents": subset}
        files = []
        for native in (True, False):
            with pytest.MonkeyPatch.context() as patch:
                if not native:
                    switch_off_native(patch)
                index = SampleIndex.open(data, **choice, cache=Path(folder, str(native)))
                assert len(index) == samples
                assert index.tokens == len(expected)
                rows = rows_of(index)
                for k in range(samples):
                    piece = expected[order(k) * seq_length :][: seq_length + 1]
                    assert rows[k].tolist() == data.tokens[piece].tolist()
                    assert [
                        at for span in index.spans(k) for at in range(span.first_token, span.first_token + span.count)
                    ] == piece.tolist()
                files.append(index.path.read_bytes())
        assert files[0] == files[1]


def test_numbers_over_32_bits_give_the_same_samples(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(tmp_path / "Python", [5, 0, 100, 7, 31])
    narrow = SampleIndex.open(data, seq_length=8, key=1, cache=tmp_path / "narrow")
    monkeypatch.setattr(concatenation, "row_dtype", lambda sequences: np.dtype(np.uint64))
    wide = SampleIndex.open(data, seq_length=8, key=1, cache=tmp_path / "wide")
    assert wide.path.stat().st_size > narrow.path.stat().st_size
    assert rows_of(wide).tolist() == rows_of(narrow).tolist()


def test_an_index_is_built_in_blocks(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that end inside a long sequence, and in the middle of the lanes."""
    data = written(tmp_path / "Python", [*range(300), 5000, 0, 0, 3])
    whole = SampleIndex.open(data, seq_length=16, key=5, cache=tmp_path / "whole")
    monkeypatch.setattr(concatenation, "BLOCK", 7)
    assert SampleIndex.open(data, seq_length=16, key=5, cache=tmp_path / "blocks").path.read_bytes() == whole.path.read_bytes()


def test_order_is_the_same_for_any_ranks_and_after_any_stop(tmp_path: Path, form: str) -> None:
    """Step s of dp 1, 2, 4, 8 reads the same samples, also where a new process begins at s."""
    data = written(tmp_path / "Python", [50, 70, 90, 400])
    index = SampleIndex.open(data, seq_length=8, key=2)
    whole = rows_of(index)
    for ranks in (1, 2, 4, 8):
        for step in range(len(index) // 8):
            again = pickle.loads(pickle.dumps(index))  # as a worker gets it
            rows = [row for rank in range(ranks) for row in rank_rows(step, 8, rank, ranks)]
            out = np.empty((8, 9), np.int64)
            again.read_rows(rows, out)
            assert out.tolist() == whole[step * 8 : step * 8 + 8].tolist()


def test_passes_differ_and_joint_passes_mix(tmp_path: Path, form: str) -> None:
    data = written(tmp_path / "Python", [10] * 50)
    one, other = (SampleIndex.open(data, seq_length=9, key=key) for key in (1, 2))
    assert sorted(span.first_token for k in range(len(one)) for span in one.spans(k)) != []
    assert rows_of(one).tolist() != rows_of(other).tolist()
    order = SequenceOrder(50, key=7, passes=4)
    places = order(np.arange(200))
    assert np.bincount(places).tolist() == [4] * 50
    assert len(np.unique(places[:50])) < 45  # not a pass after the other


def test_a_subset_is_the_same_in_every_pass() -> None:
    lengths = np.full(1000, 10, np.int32)
    subset = subset_of(lengths, 2005, key=4)
    assert subset.count == 201
    passes = [SequenceOrder(1000, key, subset=subset)(np.arange(201)) for key in (1, 2)]
    assert passes[0].tolist() != passes[1].tolist()
    assert set(passes[0].tolist()) == set(passes[1].tolist())
    assert SequenceOrder(1000, 1, 3, subset).count_tokens(lengths) == 3 * 2010
    assert subset_of(lengths, 10**6, key=4).count == 1000


def test_segments_number_the_documents(tmp_path: Path, form: str) -> None:
    """A document begins with each piece and at each start of a file inside of it."""
    data = written(tmp_path / "Python", [30, 30, 0, 30])
    starts = np.array([0, 7, 7, 8, 30, 30, 60, 75, 75], np.int64)  # some files are empty
    index = SampleIndex.open(data, seq_length=12, key=3)
    segments = np.empty((len(index), 13), np.int32)
    index.segments(range(len(index)), starts, segments)
    for k in range(len(index)):
        places = [at for span in index.spans(k) for at in range(span.first_token, span.first_token + span.count)]
        begins = [j > 0 and (places[j] in starts or places[j] != places[j - 1] + 1) for j in range(13)]
        assert segments[k].tolist() == np.cumsum(begins).tolist()


def test_bad_use_is_named(tmp_path: Path, form: str) -> None:
    data = written(tmp_path / "Python", [50])
    index = SampleIndex.open(data, seq_length=8, key=1)
    for call in (lambda: index.spans(len(index)), lambda: index.read(-1, np.empty(9, np.int64))):
        with pytest.raises(IndexError, match=r"sample -?\d+ of 6"):
            call()
    assert len(SampleIndex.open(data, seq_length=50, key=1)) == 0


def test_an_index_of_other_data_reads_nothing(tmp_path: Path, form: str) -> None:
    """One that passes its checksum and lies (a name that collides, a hostile cache): refused, no byte outside of the .bin."""
    data = written(tmp_path / "Python", [1000])
    index = SampleIndex.open(data, seq_length=8, key=1)
    other = written(tmp_path / "Java", [50, 2])
    small = SampleIndex.open(other, seq_length=8, key=1, cache=tmp_path / "other")
    content = np.frombuffer(index.path.read_bytes(), np.uint8)
    small.path.write_bytes(content.tobytes())
    lying = SampleIndex.open(other, seq_length=8, key=1, cache=tmp_path / "other")
    assert len(lying) == len(index) > 6
    with pytest.raises(UserError, match=r"does not fit .*Java\.idx"):
        for k in range(len(lying)):
            lying.read(k, np.empty(9, np.int64))
