"""Losses of one pass summed by the kind of their targets, in every layout: what an evaluation of each kind alone gives."""

from __future__ import annotations

import pytest
import torch

from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder

TOKENS = torch.randint(0, 130, (5, 33), generator=torch.Generator().manual_seed(3))  # of two ranks one has 2 rows, one 3
MASK = torch.arange(32)[None, :] < torch.tensor([32, 31, 0, 30, 3])[:, None]
KINDS = torch.randint(0, 3, (5, 32), generator=torch.Generator().manual_seed(4))  # of four, so that one has no target


def by_kind(recipe):
    engine = Engine(recipe, build_snowcoder(recipe))
    mine = slice(engine.data_rank, None, engine.data_size)
    found = engine.evaluate_by_kind(TOKENS[mine], MASK[mine], KINDS[mine], 4)
    alone = [engine.evaluate(TOKENS[mine], MASK[mine] & (KINDS[mine] == kind)) for kind in range(4)]
    none = engine.evaluate_by_kind(TOKENS[:0], MASK[:0], KINDS[:0], 4)
    engine.close()
    return found, alone, none


@pytest.fixture(scope="module")
def one_process(workers, tiny_recipe):
    return workers.run(1, by_kind, tiny_recipe())[0]


def test_each_kind_is_what_an_evaluation_of_it_alone_gives(one_process):
    found, alone, none = one_process
    assert [count for _, count in found] == [int((MASK & (kind == KINDS)).sum()) for kind in range(4)]
    assert [count for _, count in alone] == [count for _, count in found]
    assert [loss for loss, _ in found] == pytest.approx([loss for loss, _ in alone], rel=1e-6)
    assert found[3] == (0.0, 0)
    assert none == [(0.0, 0)] * 4
    assert len({round(loss / count, 4) for loss, count in found[:3]}) == 3  # kinds that were mixed up would be seen


@pytest.mark.parametrize(
    "layout",
    [{}, {"tensor": 2}, {"pipeline": 2}, {"pipeline": 2, "virtual_pipeline": 2}, {"context": 2}],
    ids=["dp2", "tp2", "pp2", "pp2-vpp2", "cp2"],
)
def test_every_layout_agrees(workers, tiny_recipe, one_process, layout):
    for found, alone, _ in workers.run(2, by_kind, tiny_recipe(processes=2, **layout)):
        assert [count for _, count in found] == [count for _, count in one_process[0]]
        assert [loss for loss, _ in found] == pytest.approx([loss for loss, _ in one_process[0]], rel=2e-6)
        assert [loss for loss, _ in alone] == pytest.approx([loss for loss, _ in found], rel=1e-6)
