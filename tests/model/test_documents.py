"""Samples of several documents: attention that ends at their borders, positions that begin anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from megatron_snow.datasets.segments import positions
from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder
from megatron_snow.model.documents import held_positions, restarting_positions

TOKENS = torch.randint(0, 130, (2, 32), generator=torch.Generator().manual_seed(5))
LENGTHS = (13, 16)  # and three places of padding
DOCUMENTS = torch.tensor([0] * LENGTHS[0] + [1] * LENGTHS[1] + [-1] * 3).repeat(2, 1)
BOTH = {"document_attention": True, "reset_positions": True}


def logits_of(recipe, pieces):
    """The logits of each (tokens, documents) on one process, padded columns cut off."""
    engine = Engine(recipe, build_snowcoder(recipe))
    with torch.no_grad():
        found = [engine._chunks[0](tokens, None, documents)[..., :130] for tokens, documents in pieces]
    engine.close()
    return found


def test_packed_documents_give_the_logits_of_each_alone(workers, tiny_recipe):
    first, second = TOKENS[:, : LENGTHS[0]], TOKENS[:, LENGTHS[0] : sum(LENGTHS)]
    packed, *alone = workers.run(1, logits_of, tiny_recipe(**BOTH), [(TOKENS, DOCUMENTS), (first, None), (second, None)])[0]
    for part, expected in zip(packed.split((*LENGTHS, 3), dim=1), alone):
        assert float((part - expected).abs().max() / expected.abs().max()) < 1e-6
    assert packed.isfinite().all()


@pytest.mark.parametrize("switch", BOTH)
def test_each_switch_changes_the_second_document_alone(workers, tiny_recipe, switch):
    recipe = tiny_recipe(**{switch: True})
    packed, whole = workers.run(1, logits_of, recipe, [(TOKENS, DOCUMENTS), (TOKENS, None)])[0]
    first = LENGTHS[0]
    assert torch.allclose(packed[:, :first], whole[:, :first], rtol=0, atol=1e-6)
    assert (packed[:, first:] - whole[:, first:]).abs().amax() > 1e-3


def test_attention_alone_hides_the_documents_before(workers, tiny_recipe):
    """RoPE is relative: with the attention confined, positions that do not restart give the same up to rounding."""
    recipes = tiny_recipe(document_attention=True), tiny_recipe(**BOTH)
    one, both = (workers.run(1, logits_of, recipe, [(TOKENS, DOCUMENTS)])[0][0] for recipe in recipes)
    assert torch.allclose(one, both, rtol=0, atol=1e-5)


def test_documents_are_not_looked_at_unless_asked(workers, tiny_recipe):
    numbered, plain = workers.run(1, logits_of, tiny_recipe(), [(TOKENS, DOCUMENTS), (TOKENS, None)])[0]
    assert torch.equal(numbered, plain)


def test_positions_are_those_of_the_datasets():
    generator = np.random.default_rng(1)
    segments = np.sort(generator.integers(0, 6, (16, 64)), axis=1).astype(np.int32)
    segments[:, 60:] = -1
    expected = torch.from_numpy(positions(segments))
    found = restarting_positions(torch.from_numpy(segments))
    assert torch.equal(found, expected)
    assert torch.equal(held_positions(torch.from_numpy(segments), 1, 2).t(), expected[:, 16:48])
