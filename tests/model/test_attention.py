"""Positions and angles of a split context."""

from __future__ import annotations

import math

import pytest
import torch

from megatron_snow.engine.context import zigzag_positions
from megatron_snow.model.attention import rotary_table


@pytest.mark.parametrize("size", [1, 2, 4])
def test_zigzag_shares_positions_and_work(size):
    held = [zigzag_positions(64, rank, size) for rank in range(size)]
    assert torch.equal(torch.cat(held).sort().values, torch.arange(64))
    assert len({int(positions.sum()) for positions in held}) == 1  # a query's work is its number of keys


def test_zigzag_order():
    assert zigzag_positions(8, 0, 2).tolist() == [0, 1, 6, 7]
    assert zigzag_positions(8, 1, 2).tolist() == [2, 3, 4, 5]


def test_angles_of_the_last_position():
    """At position 8,191 the fastest pair has turned 1,303 times: the angle needs more than fp32."""
    cos, sin = rotary_table(8192, 0, 1, 16, 10_000.0, torch.device("cpu"))
    for pair in range(8):
        angle = 8191 * 10_000.0 ** (-2 * pair / 16)
        assert float(cos[-1, pair]) == pytest.approx(math.cos(angle), abs=1e-7)
        assert float(sin[-1, pair + 8]) == pytest.approx(math.sin(angle), abs=1e-7)


def test_table_of_a_rank_is_rows_of_the_whole():
    whole, _ = rotary_table(64, 0, 1, 8, 100.0, torch.device("cpu"))
    part, _ = rotary_table(64, 1, 2, 8, 100.0, torch.device("cpu"))
    assert torch.equal(part, whole[zigzag_positions(64, 1, 2)])
