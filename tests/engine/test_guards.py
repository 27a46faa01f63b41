"""What megatron-core would compute wrongly without a word, and what the engine does about it: each wrong number is shown.

The last argument of `losses` takes a guard away in the worker.
"""

from __future__ import annotations

import contextlib

import pytest
import torch

from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder

TOKENS = torch.randint(0, 130, (8, 33), generator=torch.Generator().manual_seed(7))
MASK = torch.arange(32)[None, :] < torch.tensor([32, 31, 32, 30, 1, 2, 0, 0])[:, None]
INTERLEAVED = {"processes": 2, "pipeline": 2, "virtual_pipeline": 2}


def batched_sends(engine):
    """F9: two messages between the same two ranks in a batch."""
    engine._chunks[0].config.overlap_p2p_comm, engine._chunks[0].config.batch_p2p_comm = False, True


def freed_outputs(engine):
    """F10: the output of a stage is freed while gloo may still be reading it."""
    for chunk in engine._chunks:
        chunk.config.deallocate_pipeline_outputs = True


def norms_not_summed(engine):
    """Under sequence parallelism the gradient of a norm is one of a rank's own positions until it is summed."""
    for chunk in engine._chunks:
        for parameter in chunk.parameters():
            parameter.sequence_parallel = False


def shards_not_marked(engine):
    """Of a parameter that is not marked as split, only the first tensor-parallel rank's part is in the gradient norm."""
    for chunk in engine._chunks:
        for parameter in chunk.parameters():
            parameter.tensor_model_parallel = False


def means_of_micro_batches(engine):
    """megatron-core's default: each micro-batch's mean weighs alike, however many of its targets count."""
    for chunk in engine._chunks:
        chunk.config.calculate_per_token_loss = False


def padding_in_the_softmax(engine):
    """The 126 columns that pad the vocabulary to 256 take part, as they do in megatron-core's own loss."""
    for chunk in engine._chunks:
        chunk.module.true_vocab_size = chunk.module.vocab_size


_GUARDS = (batched_sends, freed_outputs, norms_not_summed, shards_not_marked, means_of_micro_batches, padding_in_the_softmax)
GUARDS = {guard.__name__: guard for guard in _GUARDS}


def losses(recipe, without=""):
    """[(loss, gradient norm)] of five steps, with a guard taken away."""
    engine = Engine(recipe, build_snowcoder(recipe))
    if without:
        GUARDS[without](engine)
    mine, mask = (part.chunk(engine.data_size)[engine.data_rank] for part in (TOKENS, MASK))
    results = []
    with contextlib.suppress(FloatingPointError):  # garbage may well be no number
        for _ in range(5):
            result = engine.train_step(mine, 3e-3, mask)
            results.append((result.loss, result.grad_norm))
    engine.close()
    return results


def off(measured, expected):
    """The largest relative difference of losses and norms; infinite where a run ended in the middle."""
    if len(measured) < len(expected):
        return float("inf")
    return float((torch.tensor(measured) / torch.tensor(expected) - 1).abs().max())


@pytest.fixture(scope="module")
def one_process(workers, tiny_recipe):
    return workers.run(1, losses, tiny_recipe())[0]


@pytest.mark.parametrize(
    ("layout", "without", "least"),
    [
        (INTERLEAVED, "batched_sends", 1e-2),
        (INTERLEAVED, "freed_outputs", 1e-4),
        ({"processes": 2, "tensor": 2, "sequence": True}, "norms_not_summed", 1e-4),
        ({"processes": 2, "tensor": 2}, "shards_not_marked", 1e-2),
        ({"processes": 1}, "means_of_micro_batches", 1e-2),
        ({"processes": 2, "tensor": 2}, "padding_in_the_softmax", 1e-2),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_without_its_guard_a_layout_is_silently_wrong(workers, tiny_recipe, one_process, layout, without, least):
    recipe = tiny_recipe(**layout)
    size = recipe.parallel.processes
    assert off(workers.run(size, losses, recipe)[0], one_process) < 2e-6
    assert off(workers.run(size, losses, recipe, without)[0], one_process) > least
