"""Average checkpoints: the last ones alike, or merged so that the average stands for a decay of the learning rate.

    megatron-snow average-checkpoints --run runs/constant --last 8 --weights 1-sqrt --output runs/merged/checkpoints
    megatron-snow average-checkpoints --checkpoints runs/a/checkpoints/step-000001{00,10,20} --output runs/average/checkpoints

The output, step-00000000, holds weights alone and loads in any layout: convert-to-hf takes it, and pretrain with
--output runs/merged starts from it. docs/checkpoints.md has the formula and what a run showed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "average checkpoints, or merge them in place of a decay"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    sources = parser.add_mutually_exclusive_group(required=True)
    sources.add_argument("--checkpoints", nargs="+", type=Path, metavar="DIR", help="folders of steps")
    sources.add_argument("--run", type=Path, metavar="DIR", help="a run's folder, of which --last checkpoints are taken")
    parser.add_argument("--last", type=int, default=0, metavar="K", help="with --run: the newest K")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="with --run: of those at a multiple of N steps")
    parser.add_argument(
        "--weights",
        choices=("uniform", "linear", "cosine", "1-sqrt"),
        default="uniform",
        help="uniform: all alike; else the decrements of that decay over the tokens between them (linear at even intervals: uniform)",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="the folder of checkpoints; step-00000000 appears in it")


def run(args: argparse.Namespace) -> None:
    """Average, and print the weight of each."""
    from megatron_snow.training.averaging import average_checkpoints, rates_between

    sources = args.checkpoints or _last(args.run, args.last, args.every)
    averaged = average_checkpoints(sources, args.weights, args.output)
    for part in averaged.state["averaged"]["checkpoints"]:
        print(f"{part['weight']:.6f} x {part['checkpoint']}")
    rates = rates_between(sources) if args.weights != "uniform" else None
    if rates and rates[0] != rates[1]:
        print(f"NOTE: the learning rate between them was {rates[0]:g} to {rates[1]:g}; a merge stands for a decay of a constant rate only")
    print(averaged.path)


def _last(run: Path, count: int, every: int) -> list[Path]:
    from megatron_snow.checkpoint import CheckpointStore
    from megatron_snow.common.errors import UserError

    if every < 1 or count < 2:
        raise UserError(f"--last {count} --every {every}: --run needs --last of 2 or more, and --every of 1 or more")
    store = CheckpointStore(run / "checkpoints", keep=1)
    steps = [step for step in store.steps() if step % every == 0]
    if len(steps) < count:
        found = ", ".join(map(str, steps)) or "none"
        raise UserError(
            f"--last {count}: {store.root} has {len(steps)} at a multiple of {every} steps ({found}); keep more with training.keep_every"
        )
    return [store.folder(step) for step in steps[-count:]]
