"""The truth that near-deduplication is measured against: all pairs, by comparing each with each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.corpus.truth import clusters_of, judge, pairs_of, truth_of
from megatron_snow.corpus.shingles import jaccard

SETS = st.lists(st.sets(st.integers(0, 12), max_size=8), min_size=1, max_size=12)


@given(SETS, st.sampled_from([0.3, 0.5, 0.7, 1.0]))
def test_pairs_are_those_of_every_comparison(sets: list[set[int]], threshold: float) -> None:
    arrays = [np.array(sorted(values), np.uint64) for values in sets]
    expected = [(a, b) for b in range(len(sets)) for a in range(b) if sets[a] and sets[b] and jaccard(arrays[a], arrays[b]) >= threshold]
    assert pairs_of(arrays, threshold) == sorted(expected)


def test_judging_counts_pairs() -> None:
    pairs = [(0, 1), (1, 2), (3, 4)]
    truth = clusters_of(6, pairs)
    assert truth == [0, 0, 0, 3, 3, 5]
    assert judge(truth, pairs, truth) == {"recall": 1.0, "precision": 1.0, "kept": 3}
    assert judge("aabbbc", pairs, truth) == {"recall": round(2 / 3, 4), "precision": 0.5, "kept": 3}
    assert judge("abcdef", pairs, truth) == {"recall": 0.0, "precision": 0.0, "kept": 6}


def test_real_files_that_were_edited_are_found() -> None:
    text = Path(judge.__code__.co_filename).read_text(encoding="utf-8")
    pairs, clusters = truth_of([text, "nothing like it " * 20, text + "\none line more at the end\n"])
    assert pairs == [(0, 2)]
    assert clusters == [0, 1, 0]
