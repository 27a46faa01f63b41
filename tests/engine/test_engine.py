"""Evaluation, precision, failures and the small methods of an engine."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from megatron_snow.common.errors import UserError
from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder

TOKENS = torch.randint(0, 130, (8, 33), generator=torch.Generator().manual_seed(3))
MASK = torch.rand(8, 32, generator=torch.Generator().manual_seed(4)) < 0.6


def evaluate(recipe, rows):
    """`rows` gives each data-parallel rank the indices of its sequences."""
    engine = Engine(recipe, build_snowcoder(recipe))
    mine = rows[engine.data_rank]
    result = engine.evaluate(TOKENS[mine], MASK[mine])
    engine.close()
    return result


@pytest.mark.parametrize(
    ("layout", "rows"),
    [
        ({"processes": 2}, [[0, 1, 2, 3, 4], []]),
        ({"processes": 2}, [[4, 3], [2, 1, 0]]),
        ({"processes": 2, "pipeline": 2}, [[0, 1, 2, 3, 4]]),
        ({"processes": 2, "pipeline": 2, "virtual_pipeline": 2}, [[0, 1, 2, 3, 4]]),
        ({"processes": 4, "tensor": 2, "context": 2}, [[0, 1, 2, 3, 4]]),
    ],
    ids=["dp2-one-empty", "dp2-uneven", "pp2", "pp2-vpp2", "tp2-cp2"],
)
def test_evaluate_sums_over_uneven_ranks(workers, tiny_recipe, layout, rows):
    loss, tokens = workers.run(1, evaluate, tiny_recipe(), [[0, 1, 2, 3, 4]])[0]
    ranks = workers.run(layout["processes"], evaluate, tiny_recipe(**layout), rows)
    assert tokens == int(MASK[:5].sum())
    assert all(rank == ranks[0] for rank in ranks)
    assert ranks[0][1] == tokens
    assert ranks[0][0] == pytest.approx(loss, rel=5e-7)


def evaluate_nothing(recipe):
    engine = Engine(recipe, build_snowcoder(recipe))
    result = engine.evaluate(TOKENS[:0], MASK[:0])
    engine.close()
    return result


def test_evaluate_of_nothing(workers, tiny_recipe):
    assert workers.run(1, evaluate_nothing, tiny_recipe())[0] == (0.0, 0)


def train_in(recipe, steps):
    engine = Engine(recipe, build_snowcoder(recipe))
    losses = [engine.train_step(TOKENS.chunk(engine.data_size)[engine.data_rank], 3e-3).loss for _ in range(steps)]
    dtypes = {parameter.dtype for parameter in engine._chunks[0].parameters()}
    gradients = {parameter.main_grad.dtype for parameter in engine._chunks[0].parameters()}
    masters = {parameter.dtype for parameter in engine._optimizer.get_parameters()}
    engine.close()
    return losses, (dtypes, gradients, masters)


@pytest.mark.parametrize(
    "layout",
    [{"processes": 2}, {"processes": 2, "distributed_optimizer": True}, {"processes": 4, "tensor": 2, "pipeline": 2}],
    ids=["dp2", "dp2-zero1", "tp2-pp2"],
)
def test_bf16_follows_fp32(workers, tiny_recipe, layout):
    exact, _ = workers.run(1, train_in, tiny_recipe(), 5)[0]
    losses, dtypes = workers.run(layout["processes"], train_in, tiny_recipe(precision="bf16", **layout), 5)[0]
    assert dtypes == ({torch.bfloat16}, {torch.float32}, {torch.float32})
    assert losses == pytest.approx(exact, rel=2e-3)
    assert losses[-1] < losses[0]


def overflow(recipe):
    """Weights before and after a step whose gradient is not finite."""
    engine = Engine(recipe, build_snowcoder(recipe))
    engine.train_step(TOKENS.chunk(engine.data_size)[engine.data_rank], 1e30)
    before = [parameter.clone() for parameter in engine._chunks[0].parameters()]
    try:
        engine.train_step(TOKENS.chunk(engine.data_size)[engine.data_rank], 1e-3)
        message = ""
    except FloatingPointError as error:
        message = str(error)
    same = all(torch.equal(old, new) for old, new in zip(before, engine._chunks[0].parameters()))
    engine.close()
    return message, same


def test_a_step_that_overflows_leaves_the_weights(workers, tiny_recipe):
    for message, same in workers.run(2, overflow, tiny_recipe(processes=2)):
        assert "not finite" in message
        assert same


def describe(recipe):
    engine = Engine(recipe, build_snowcoder(recipe))
    told = engine.broadcast(("from", engine.rank))
    result = engine.parameter_count, engine.is_main, engine.data_rank, engine.data_size, engine.world_size, told
    engine.close()
    return result


def test_ranks_and_counts(workers, tiny_recipe):
    one = workers.run(1, describe, tiny_recipe())[0]
    layer = 64 * (64 + 2 * 2 * 16) + 64 * 64 + 3 * 96 * 64 + 2 * 64
    assert one == (4 * layer + 256 * 64 + 64, True, 0, 1, 1, ("from", 0))
    ranks = workers.run(4, describe, tiny_recipe(processes=4, tensor=2, pipeline=2))
    assert [rank[0] for rank in ranks] == [one[0]] * 4
    assert [rank[1] for rank in ranks] == [True, False, False, False]
    ranks = workers.run(4, describe, tiny_recipe(processes=4, tensor=2))
    assert [rank[2:4] for rank in ranks] == [(0, 2), (0, 2), (1, 2), (1, 2)]
    assert {rank[5] for rank in ranks} == {("from", 0)}


def refuse(recipe, rows):
    try:
        Engine(recipe, build_snowcoder(recipe)).train_step(TOKENS[:rows], 1e-3)
    except (UserError, ValueError) as error:
        return str(error)
    return ""


def test_what_does_not_fit_is_refused(workers, tiny_recipe):
    assert "does not divide the 1 processes" in workers.run(1, refuse, tiny_recipe(processes=2, tensor=2), 8)[0]
    assert "3 sequences of a rank are not a multiple of training.micro_batch_size 2" in workers.run(1, refuse, tiny_recipe(), 3)[0]
    assert "need the numbers of the documents" in workers.run(1, refuse, tiny_recipe(document_attention=True), 8)[0]


def save_where_a_file_cannot_be(recipe, folder):
    engine = Engine(recipe, build_snowcoder(recipe))
    try:
        engine.save(Path(folder))
    except OSError as error:
        return type(error).__name__
    finally:
        engine.close()
    return "saved"


def test_a_rank_that_cannot_write_stops_all(workers, tiny_recipe, tmp_path):
    (tmp_path / "__0_0.distcp").mkdir()
    assert workers.run(2, save_where_a_file_cannot_be, tiny_recipe(processes=2), tmp_path) == ["IsADirectoryError"] * 2


def test_losses_are_finite_numbers(workers, tiny_recipe):
    losses, _ = workers.run(1, train_in, tiny_recipe(), 1)[0]
    assert math.isfinite(losses[0])
    assert losses[0] == pytest.approx(math.log(130), rel=0.1)
