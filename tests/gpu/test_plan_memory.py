"""Memory of a rank: the plan against the bytes that torch reports on a GPU, within 10 %. Not run on a GPU yet.

A process of its own, for tests/conftest.py hides GPUs from this one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import megatron_snow

RECIPE = Path(megatron_snow.__file__).parent.parent / "examples" / "recipes" / "snowcoder_1b3.yaml"
VISIBLE = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}

MEASURE = """
import json, sys
import torch
from megatron_snow.config import load_recipe
from megatron_snow.engine import Engine
from megatron_snow.model import build_snowcoder
from megatron_snow.training.planning import rank_memory

recipe = load_recipe(sys.argv[1], sys.argv[2:])
engine = Engine(recipe, build_snowcoder(recipe))
rows = recipe.training.global_batch_size // engine.data_size
tokens = torch.randint(0, recipe.tokenizer.vocab_size, (rows, recipe.model.seq_length + 1))
for _ in range(2):  # the moments exist from the end of the first
    engine.train_step(tokens, 1e-4)
between = torch.cuda.memory_allocated()
torch.cuda.reset_peak_memory_stats()
engine.train_step(tokens, 1e-4)
planned = rank_memory(recipe)
print(json.dumps([between, torch.cuda.max_memory_allocated(), planned.between_steps, planned.peak]))
engine.close()
"""


def has_gpu() -> bool:
    found = shutil.which("nvidia-smi")
    return found is not None and "GPU 0" in subprocess.run([found, "-L"], capture_output=True, text=True, check=False).stdout


@pytest.mark.skipif(not has_gpu(), reason="needs a GPU")
@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
@pytest.mark.parametrize("preset", ["snowcoder-350m", "snowcoder-1b3"])
def test_bytes_on_a_gpu(preset: str, recompute: str) -> None:
    keys = [f"model.preset={preset}", f"training.recompute={recompute}", "parallel.processes=1", "parallel.distributed_optimizer=false"]
    keys += ["training.global_batch_size=2", "training.micro_batch_size=1"]
    command = [sys.executable, "-c", MEASURE, str(RECIPE), *keys]
    answer = subprocess.run(command, capture_output=True, text=True, env=VISIBLE, check=True)
    between, highest, planned_between, planned_highest = json.loads(answer.stdout.splitlines()[-1])
    assert planned_between == pytest.approx(between, rel=0.1)
    assert planned_highest == pytest.approx(highest, rel=0.1)
