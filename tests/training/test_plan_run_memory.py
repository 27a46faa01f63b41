"""Memory of a rank: the plan against the growth of resident memory of real processes, within 20 %."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
from pathlib import Path
from typing import Any

import pytest
import torch

from megatron_snow.config import Tokenizer
from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder
from megatron_snow.training.planning import rank_memory

# 58 M parameters; what is kept and the logits take a third of the whole.
SHAPE = {"num_layers": 8, "hidden_size": 512, "ffn_hidden_size": 1408, "num_attention_heads": 8, "num_query_groups": 8, "seq_length": 128}


def resident(line: str) -> int:
    """Bytes: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(text for text in lines if text.startswith(line)).split()[1])


def two_steps(recipe: Any) -> None:
    engine = Engine(recipe, build_snowcoder(recipe))
    rows = recipe.training.global_batch_size // engine.data_size
    tokens = torch.randint(0, recipe.tokenizer.vocab_size, (rows, recipe.model.seq_length + 1))
    for _ in range(2):  # the moments exist from the end of the first
        engine.train_step(tokens, 1e-4)
    engine.close()


def growth(recipe: Any, warm_up: Any) -> int:
    """Bytes by which this process grows; what libraries load at first use is loaded before."""
    two_steps(warm_up)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier tests left free would take in what is measured here
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the highest point
    two_steps(recipe)
    return resident("VmHWM") - before


CASES = {
    "fp32": {"global_batch_size": 4, "micro_batch_size": 4},
    "bf16-dp2-zero1": {
        "processes": 2, "distributed_optimizer": True, "precision": "bf16", "global_batch_size": 8, "micro_batch_size": 4,
    },
    "tp2-sp": {"processes": 2, "tensor": 2, "sequence": True, "global_batch_size": 8, "micro_batch_size": 8},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone tells a process's highest resident memory")
@pytest.mark.parametrize("case", CASES)
def test_growth_of_resident_memory(workers, tiny_recipe, case):
    recipe = dataclasses.replace(tiny_recipe(**SHAPE, **CASES[case]), tokenizer=Tokenizer(vocab_size=64_000))
    warm_up = tiny_recipe(**{key: value for key, value in CASES[case].items() if not key.endswith("batch_size")})
    for measured in workers.run(recipe.parallel.processes, growth, recipe, warm_up):
        assert rank_memory(recipe, on_gpu=False).peak == pytest.approx(measured, rel=0.2)
