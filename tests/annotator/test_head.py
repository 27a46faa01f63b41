from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_snow.annotator.head import Head, fit_head, roc_auc
from megatron_snow.common.errors import UserError


def clusters(positives: int, negatives: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    features = random.normal(size=(positives + negatives, 5)).astype(np.float32)
    labels = np.arange(len(features)) < positives
    features[labels, 2] += 2.0
    return features, labels


def test_the_head_finds_the_direction_that_tells_classes_apart() -> None:
    features, labels = clusters(300, 300)
    head = fit_head(features, labels, np.ones(len(labels)))
    assert np.abs(head.weight).argmax() == 2
    assert roc_auc(head.score(features), labels) > 0.9
    assert abs(head.score(features[labels]).mean() - (1 - head.score(features[~labels]).mean())) < 0.05


def test_classes_are_balanced() -> None:
    """Nine copies of each negative change nothing: a class weighs one half, however many documents it has."""
    features, labels = clusters(60, 40)
    copies = np.concatenate([np.flatnonzero(labels), np.tile(np.flatnonzero(~labels), 9)])
    once = fit_head(features, labels, np.ones(len(labels)))
    often = fit_head(features[copies], labels[copies], np.ones(len(copies)))
    np.testing.assert_allclose(once.score(features), often.score(features), atol=1e-5)


def test_the_fit_repeats() -> None:
    features, labels = clusters(50, 70)
    first, second = (fit_head(features, labels, np.ones(len(labels))) for _ in range(2))
    np.testing.assert_array_equal(first.weight, second.weight)
    assert first.bias == second.bias


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auc_counts_pairs(samples: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([score for score, _ in samples], float), np.array([label for _, label in samples])
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[labels] for n in scores[~labels]]
    auc = roc_auc(scores, labels)
    assert auc == pytest.approx(np.mean(pairs)) if pairs else np.isnan(auc)


def test_a_head_comes_back_from_its_file(tmp_path: Path) -> None:
    head = Head(np.arange(4, dtype=np.float32), 0.5)
    head.save(tmp_path / "head.safetensors")
    read = Head.load(tmp_path / "head.safetensors", 4)
    np.testing.assert_array_equal(read.weight, head.weight)
    assert read.bias == head.bias
    with pytest.raises(UserError, match=r"head.safetensors: a head for features of width 4, the encoder's are 384 wide"):
        Head.load(tmp_path / "head.safetensors", 384)
    (tmp_path / "head.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(UserError, match=r"head.safetensors: not an annotator's head"):
        Head.load(tmp_path / "head.safetensors", 4)
