"""Every layout computes what one process computes: losses, gradient norms and weights of five steps in fp32.

Some targets do not count, unevenly (a rank may have none), and the vocabulary, 130, is padded to 256: the last rank of two has
two columns that are real, the last ranks of four none. `make agreement` runs all of it and writes docs/parallelism.md's table.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from megatron_snow.engine import Engine, read_model
from megatron_snow.model import build_snowcoder

DOCUMENT = Path(__file__).parents[2] / "docs" / "parallelism.md"
BEGIN, END = "<!-- agreement: written by make agreement -->\n", "<!-- end of agreement -->"
STEPS = 5
LIMITS = {"loss": 2e-6, "gradient norm": 2e-6, "weights": 1e-5}

TOKENS = torch.randint(0, 130, (8, 33), generator=torch.Generator().manual_seed(7))
# Of four ranks, the last has no target that counts.
MASK = torch.arange(32)[None, :] < torch.tensor([32, 31, 32, 30, 1, 2, 0, 0])[:, None]
# Two or three documents a row, then padding in some.
DOCUMENTS = (torch.arange(32)[None, :] >= torch.tensor([13, 1, 31, 16, 9, 20, 5, 8])[:, None]).int()
DOCUMENTS += (torch.arange(32)[None, :] >= 24).int()
DOCUMENTS[4:, 30:] = -1

ZERO, SEQUENCE = {"distributed_optimizer": True}, {"tensor": 2, "sequence": True}
INTERLEAVED = {"pipeline": 2, "virtual_pipeline": 2}
PACKED = {"document_attention": True, "reset_positions": True}
# The model of one process has these too; the rest is layout.
MODEL_KEYS = {"num_layers", "num_query_groups", "tie_embeddings", *PACKED}
MHA = {"num_layers": 8, "num_query_groups": 4, "tie_embeddings": False}

FAST = {
    "accumulation": {"micro_batch_size": 1},
    "recompute selective": {"recompute": "selective"},
    "dp2 zero1": {"processes": 2, **ZERO},
    "tp2 sp": {"processes": 2, **SEQUENCE},
    "pp2 vpp2": {"processes": 2, **INTERLEAVED},
    "cp2": {"processes": 2, "context": 2},
    "cp2 documents": {"processes": 2, "context": 2, **PACKED},
    "tp2 sp pp2 vpp2": {"processes": 4, **SEQUENCE, **INTERLEAVED},
    "dp2 pp2 zero1 overlap": {"processes": 4, "pipeline": 2, **ZERO, "overlap": True},
}
SLOW = {
    "recompute full": {"recompute": "full"},
    "dp2": {"processes": 2},
    "dp2 accumulation overlap": {"processes": 2, "micro_batch_size": 1, "overlap": True},
    "dp2 zero1 overlap": {"processes": 2, **ZERO, "overlap": True},
    "tp2": {"processes": 2, "tensor": 2},
    "tp2 sp recompute selective": {"processes": 2, **SEQUENCE, "recompute": "selective"},
    "tp2 sp recompute full": {"processes": 2, **SEQUENCE, "recompute": "full"},
    "tp2 sp documents": {"processes": 2, **SEQUENCE, **PACKED},
    "pp2": {"processes": 2, "pipeline": 2},
    "pp2 vpp2 recompute full": {"processes": 2, **INTERLEAVED, "recompute": "full"},
    "pp2 vpp2 documents": {"processes": 2, **INTERLEAVED, **PACKED},
    "dp4": {"processes": 4},
    "dp4 zero1": {"processes": 4, **ZERO},
    "dp2 tp2 sp zero1": {"processes": 4, **SEQUENCE, **ZERO},
    "dp2 pp2 vpp2": {"processes": 4, **INTERLEAVED},
    "dp2 pp2 vpp2 zero1 overlap": {"processes": 4, **INTERLEAVED, **ZERO, "overlap": True},
    "dp2 cp2 zero1": {"processes": 4, "context": 2, **ZERO},
    "tp2 pp2": {"processes": 4, "tensor": 2, "pipeline": 2},
    "tp2 sp cp2": {"processes": 4, **SEQUENCE, "context": 2},
    "pp2 cp2": {"processes": 4, "pipeline": 2, "context": 2},
    "pp2 vpp2 cp2 documents": {"processes": 4, **INTERLEAVED, "context": 2, **PACKED},
    "pp4": {"processes": 4, "pipeline": 4},
    "cp4": {"processes": 4, "context": 4},
    "mha untied tp2 pp2": {"processes": 4, "tensor": 2, "pipeline": 2, **MHA},
    "mha untied tp4 sp": {"processes": 4, "tensor": 4, "sequence": True, **MHA},
    "mha untied dp2 pp2 zero1": {"processes": 4, "pipeline": 2, **ZERO, **MHA},
    "mha untied pp2 vpp4": {"processes": 2, "pipeline": 2, "virtual_pipeline": 4, **MHA},
    "mha untied pp4 vpp2": {"processes": 4, "pipeline": 4, "virtual_pipeline": 2, **MHA},
}
LAYOUTS = {**FAST, **SLOW}


def train(recipe, folder, overlap):
    """Five steps on one batch, of which the rank reads its part; [(loss, gradient norm)], and the weights saved."""
    engine = Engine(recipe, build_snowcoder(recipe), overlap=overlap)
    tokens, mask, documents = (part.chunk(engine.data_size)[engine.data_rank] for part in (TOKENS, MASK, DOCUMENTS))
    results = [engine.train_step(tokens, 3e-3, mask, documents) for _ in range(STEPS)]
    engine.save(Path(folder))
    engine.close()
    return [(result.loss, result.grad_norm) for result in results]


@pytest.fixture(scope="module")
def measure(workers, tiny_recipe, tmp_path_factory):
    """measure(changes) -> ([(loss, gradient norm)] of every rank, weights)."""

    def run(changes):
        changes, folder = dict(changes), tmp_path_factory.mktemp("saved")
        overlap = changes.pop("overlap", False)
        recipe = tiny_recipe(**changes)
        return workers.run(recipe.parallel.processes, train, recipe, folder, overlap), read_model(folder)

    return run


@pytest.fixture(scope="module")
def alone(measure):
    """alone(changes) -> what one process computes of the same model."""
    found = {}

    def of(changes):
        model = {key: value for key, value in changes.items() if key in MODEL_KEYS}
        return found.setdefault(str(model), None) or found.update({str(model): measure(model)}) or found[str(model)]

    return of


@pytest.fixture(scope="module")
def table():
    """layout -> its differences; written into the document where it is asked for and every layout was run."""
    rows = {}
    yield rows
    if os.environ.get("MSNOW_WRITE_AGREEMENT") and rows.keys() == LAYOUTS.keys():
        before, rest = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)
        DOCUMENT.write_text(before + BEGIN + written(rows) + END + rest.split(END)[1], encoding="utf-8")


def written(rows):
    """The table in Markdown."""
    lines = ["| layout | processes | " + " | ".join(LIMITS) + " |", "|---|---|" + "---|" * len(LIMITS)]
    for layout in sorted(rows, key=lambda name: (LAYOUTS[name].get("processes", 1), name)):
        figures = " | ".join(f"{rows[layout][key]:.0e}" if rows[layout][key] else "0" for key in LIMITS)
        lines.append(f"| {layout} | {LAYOUTS[layout].get('processes', 1)} | {figures} |")
    return "\n".join(lines) + "\n"


def differences(measured, expected):
    """Largest relative difference of losses and gradient norms, and of the weights as tensors: |a - b| / |b|."""
    (ranks, weights), (one, ones) = measured, expected
    assert weights.keys() == ones.keys()
    (losses, norms), (true_losses, true_norms) = (torch.tensor(results[0], dtype=torch.float64).t() for results in (ranks, one))
    return {
        "loss": float((losses / true_losses - 1).abs().max()),
        "gradient norm": float((norms / true_norms - 1).abs().max()),
        "weights": max(float((weights[name] - ones[name]).norm() / ones[name].norm()) for name in ones),
    }


@pytest.mark.parametrize("layout", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_layout_equals_one_process(measure, alone, table, layout):
    ranks, weights = measure(LAYOUTS[layout])
    assert all(results == ranks[0] for results in ranks), "ranks report different losses"
    found = table[layout] = differences((ranks, weights), alone(LAYOUTS[layout]))
    assert all(found[key] <= limit for key, limit in LIMITS.items()), found


def test_training_learns(alone):
    """The agreement above would hold for a model that does nothing, or for documents that are not looked at."""
    (results,), _weights = alone({})
    assert results[-1][0] < results[0][0]
    assert all(norm > 0.01 for _loss, norm in results)
    (packed,), _weights = alone(PACKED)
    assert abs(packed[0][0] / results[0][0] - 1) > 1e-3


def test_the_document_has_every_layout():
    rows = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].splitlines()[2:]
    assert {row.split("|")[1].strip() for row in rows} == LAYOUTS.keys()
