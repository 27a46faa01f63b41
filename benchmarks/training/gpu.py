"""The paper's 1.3B model on one GPU: tokens a second, share of the peak in both conventions, memory; beside Hugging Face's Llama.

.venv/bin/python -m benchmarks.training.gpu [--micro-batch 2] [--batch 16] [--steps 10] [--set key=value ...]

Both compiled, sequence 8,192, bf16; the other side's attention is cuDNN's. One after the other in one process, for both do not fit.
Not run on a GPU yet. `--micro-batch 1` where memory is short; `megatron-snow plan-run` says how much a recipe takes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Result
from benchmarks.training.sides import OURS, THEIRS, Timing, check_same, forget, interleaved, ours, theirs
from megatron_snow.config import Recipe, load_recipe
from megatron_snow.training.planning import flops_per_token
from megatron_snow.training.telemetry import Peak, find_peak

_RECIPE = Path(__file__).parents[2] / "examples" / "recipes" / "snowcoder_1b3.yaml"
_ALONE = ("parallel.processes=1", "parallel.distributed_optimizer=false", "training.precision=bf16", "training.compile=true")


def compare(result: Result, recipe: Recipe, device: torch.device, steps: int) -> None:
    """Two rows, of two steps of which the first losses agree."""
    first: list[float] = []
    with ours(recipe) as (mine, engine):
        peak = find_peak(engine)
        first.append(mine())
        (we,), _ = interleaved([mine], steps)
        rows = [(OURS, we, _highest_memory(device))]
    del engine, mine
    forget()
    with theirs(recipe, device) as other:
        first.append(other())
        (they,), _ = interleaved([other], steps)
        rows.insert(0, (THEIRS, they, _highest_memory(device)))
    check_same(*first)
    for side, timing, memory in rows:
        facts = {"times_as_fast": round(they.wall / we.wall, 3)} if side == OURS else {}
        result.add(f"{recipe.name}, {side}", timing.cpu, **figures(recipe, timing, peak), highest_gib=memory, **facts)


def figures(recipe: Recipe, timing: Timing, peak: Peak) -> dict[str, Any]:
    """Rate and shares of the peak."""
    rate, flops = recipe.training.global_batch_size * recipe.model.seq_length / timing.wall, flops_per_token(recipe)
    return {
        "wall_seconds": round(timing.wall, 4),
        "tokens_per_second": round(rate, 1),
        "mfu_causal": round(flops.causal * rate / peak.flops, 4),
        "mfu_full": round(flops.full * rate / peak.flops, 4),
        "peak": str(peak),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "micro_batch": recipe.training.micro_batch_size,
    }


def _highest_memory(device: torch.device) -> float | None:
    """GiB that torch has allocated at once; None on a CPU."""
    return round(torch.cuda.max_memory_allocated() / 2**30, 2) if device.type == "cuda" else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micro-batch", type=int, default=2, help="sequences a forward pass")
    parser.add_argument("--batch", type=int, default=16, help="sequences a step")
    parser.add_argument("--steps", type=int, default=10, help="that are timed")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="of the recipe snowcoder_1b3")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks.training.gpu: torch sees no GPU here; on the CPU take `python -m benchmarks.training.step`")
    batch = (f"training.micro_batch_size={args.micro_batch}", f"training.global_batch_size={args.batch}")
    recipe = load_recipe(_RECIPE, [*_ALONE, *batch, *args.set])
    result = Result("gpu", "benchmarks.training", ("torch", "megatron-core", "transformers", "triton"))
    compare(result, recipe, torch.device("cuda"), args.steps)
    result.save()


if __name__ == "__main__":
    main()
