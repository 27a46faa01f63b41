"""The benchmarks of training: both sides compute the same; the GPU's code runs here on a tiny shape, and says so where no GPU is."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from benchmarks.harness import Result
from benchmarks.training import gpu, sides, step


def both_steps(recipe):
    """Losses of three steps of either side."""
    with sides.ours(recipe) as (mine, _engine), sides.theirs(recipe, torch.device("cpu")) as other:
        return [mine() for _ in range(3)], [other() for _ in range(3)]


def test_both_sides_take_the_same_steps(workers, tiny_recipe):
    mine, other = workers.run(1, both_steps, tiny_recipe())[0]
    assert mine[0] != mine[2]
    assert mine == pytest.approx(other, rel=1e-6)


def rows_of(recipe):
    results = Result("step", "benchmarks.training"), Result("gpu", "benchmarks.training")
    step.compare(results[0], "tiny", recipe, 2)
    gpu.compare(results[1], recipe, torch.device("cpu"), 2)
    return [result.rows for result in results]


def test_rows(workers, tiny_recipe):
    on_cpu, on_gpu = workers.run(1, rows_of, tiny_recipe(precision="bf16"))[0]
    assert [row["what"] for row in on_cpu] == ["tiny, bf16, eager, Hugging Face Llama", "tiny, bf16, eager, megatron_snow"]
    assert [row["what"] for row in on_gpu] == ["tiny, Hugging Face Llama", "tiny, megatron_snow"]
    for row in (*on_cpu, *on_gpu):
        assert row["tokens_per_second"] == pytest.approx(8 * 32 / row["wall_seconds"], rel=0.05)
    for theirs, ours in (on_cpu, on_gpu):
        assert "times_as_fast" not in theirs
        assert ours["times_as_fast"] > 0
    for row in on_gpu:
        assert row["highest_gib"] is None
        assert 0 < row["mfu_causal"] < row["mfu_full"]


def test_another_model_is_told():
    with pytest.raises(SystemExit, match=r"5\.00000 .* 5\.10000 .* not the same model"):
        sides.check_same(5.0, 5.1)


def test_no_gpu_is_told(monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu"])
    with pytest.raises(SystemExit, match="torch sees no GPU here"):
        gpu.main()


def test_the_tables_know_the_shapes():
    shapes = step.shapes()
    assert shapes["tiny_cpu"].model.hidden_size == 192
    assert dataclasses.astuple(shapes["wide_vocabulary"].model)[:6] == (8, 256, 688, 8, 4, 512)
