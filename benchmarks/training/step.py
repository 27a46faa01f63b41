"""A training step on the CPU beside Hugging Face's Llama of the same shape, dtype and batch: eager beside eager, compiled beside compiled.

.venv/bin/python -m benchmarks.training.step [--steps 5] [--threads 2] [--shapes tiny_cpu wide_vocabulary] [--precisions fp32 bf16]

Steps of the two sides alternate; `times as fast` is the median of the pairs' ratios of wall time, over 1 where we are faster. See
`sides.py` for what is equal and what is not. Some five minutes on two cores.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch

from benchmarks.harness import Result
from benchmarks.training.sides import OURS, THEIRS, changed, forget, interleaved, ours, theirs
from megatron_snow.config import Model, Parallel, Recipe, load_recipe

_TINY = Path(__file__).parents[2] / "examples" / "recipes" / "tiny_cpu.yaml"


def shapes() -> dict[str, Recipe]:
    """What is measured, by name: the laptop's model, and one whose vocabulary weighs more."""
    tiny = dataclasses.replace(load_recipe(_TINY, ["training.global_batch_size=16", "parallel.processes=1"]), parallel=Parallel())
    wide = dataclasses.replace(tiny, model=Model(8, 256, 688, 8, 4, 512), tokenizer=dataclasses.replace(tiny.tokenizer, vocab_size=32_000))
    return {"tiny_cpu": changed(tiny, micro_batch_size=8), "wide_vocabulary": changed(wide, global_batch_size=8, micro_batch_size=8)}


def compare(result: Result, name: str, recipe: Recipe, steps: int) -> None:
    """Two rows: theirs and ours."""
    how = "compiled" if recipe.training.compile else "eager"
    with ours(recipe) as (mine, engine), theirs(recipe, torch.device("cpu")) as other:
        (we, they), ratio = interleaved([mine, other], steps)
        parameters = engine.parameter_count
    tokens = recipe.training.global_batch_size * recipe.model.seq_length
    for side, timing, facts in ((THEIRS, they, {}), (OURS, we, {"times_as_fast": round(ratio, 3), "parameters": parameters})):
        result.add(
            f"{name}, {recipe.training.precision}, {how}, {side}", timing.cpu, wall_seconds=round(timing.wall, 4),
            tokens_per_second=round(tokens / timing.wall, 1), first_step_seconds=round(timing.first, 2), **facts,
        )  # fmt: skip
    forget()


def main() -> None:
    known = shapes()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5, help="of each side that are timed")
    parser.add_argument("--threads", type=int, default=2, help="of torch, for both sides")
    parser.add_argument("--shapes", nargs="+", choices=known, default=list(known))
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--ways", nargs="+", choices=("eager", "compiled"), default=["eager", "compiled"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    result = Result("step", "benchmarks.training", ("torch", "megatron-core", "transformers"))
    for name in args.shapes:
        for precision in args.precisions:
            for way in args.ways:
                compare(result, name, changed(known[name], precision=precision, compile=way == "compiled"), args.steps)
    result.save()


if __name__ == "__main__":
    main()
