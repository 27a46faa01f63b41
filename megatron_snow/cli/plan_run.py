"""Say what a run takes before anything runs: parameters, FLOPs, memory of each rank, steps, time, cost, and which layout fits.

    megatron-snow plan-run --recipe examples/recipes/snowcoder_1b3.yaml --gpus 8..512 --device h100 --price 2.5
    megatron-snow plan-run --recipe examples/recipes/tiny_cpu.yaml --device cpu --peak-tflops 0.5
    megatron-snow plan-run --recipe examples/recipes/snowcoder_1b3.yaml --dry-run --world-size 64 --set parallel.tensor=2

--dry-run checks one layout: every rule that it breaks at once, then the shapes of each rank's weights and its memory, from
the recipe alone; exit code 2 where it does not fit. Needs no datasets, no torch, no GPU and one process. docs/planning.md
says where each formula comes from and how far it was checked.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from megatron_snow.cli.arguments import add_recipe_arguments, recipe_of
from megatron_snow.common.errors import UserError
from megatron_snow.config import Recipe

if TYPE_CHECKING:
    from megatron_snow.training.planning import Device

HELP = "say what a run takes, before anything runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_recipe_arguments(parser)
    parser.add_argument("--gpus", metavar="N[,N|..N]", default="", help="the smallest layouts for these numbers: 64, or 8,12, or 8..512")
    parser.add_argument("--device", default="h100", metavar="NAME", help="h100, h200, a100 or cpu (default: h100)")
    parser.add_argument("--peak-tflops", type=float, metavar="X", help="the device's dense peak, in place of the data sheet's")
    parser.add_argument("--memory-gib", type=float, metavar="X", help="the device's memory, in place of the usual")
    parser.add_argument("--mfu", type=float, metavar="X", help="share of the peak that is reached, by causal FLOPs (default: 0.4, assumed)")
    parser.add_argument("--price", type=float, metavar="X", help="of a device's hour, in any currency")
    parser.add_argument("--dry-run", action="store_true", help="check the recipe's layout: shapes and memory of each rank")
    parser.add_argument("--world-size", type=int, metavar="N", help="processes, in place of parallel.processes")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def run(args: argparse.Namespace) -> None:
    """Plan and print."""
    from megatron_snow.training.planning import device_named, plan_run
    from megatron_snow.training.planning.text import describe_plan, describe_ranks, rank_shapes_of

    if args.world_size is not None:
        args.set = [*args.set, [f"parallel.processes={args.world_size}"]]
    recipe, _ = recipe_of(args)
    _check_numbers(args)
    device = device_named(args.device, peak_tflops=args.peak_tflops, memory_gib=args.memory_gib)
    plan = plan_run(recipe, device, ranks=ranks_of(args.gpus), mfu=args.mfu, price_per_hour=args.price)
    if args.json:
        shapes = {"shapes": rank_shapes_of(recipe)} if args.dry_run else {}
        print(json.dumps(plan.as_dict() | shapes, indent=2))
    else:
        print(describe_plan(plan))
        if args.dry_run:
            print("\n" + describe_ranks(recipe, plan.as_written))
    if args.dry_run and not plan.as_written.fits:
        raise UserError(_remedy(recipe, device))


def ranks_of(text: str) -> list[int]:
    """ "8..512" -> 8, 16, ..., 512; "8,12" -> 8, 12."""
    first, dots, last = text.partition("..")
    parts = [first, last] if dots else [part for part in text.split(",") if part]
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise UserError(f"--gpus {text}: expected numbers above 0, for example 64, or 8,12, or 8..512 for 8, 16, ..., 512")
    numbers = [int(part) for part in parts]
    if not dots:
        return numbers
    doubled = [numbers[0] << power for power in range(32)]
    return [number for number in doubled if number <= numbers[1]]


def _check_numbers(args: argparse.Namespace) -> None:
    if args.mfu is not None and not 0 < args.mfu <= 1:
        raise UserError(f"--mfu {args.mfu:g}: is not in (0, 1]; 0.4 stands for 40 %")
    if args.price is not None and args.price < 0:
        raise UserError(f"--price {args.price:g}: is below 0")


def _remedy(recipe: Recipe, device: Device) -> str:
    """What to change for the layout to fit."""
    from megatron_snow.training.planning import smallest_layout

    ranks = recipe.parallel.processes
    found = smallest_layout(recipe, ranks, device)
    if found is None:
        return f"too little memory, in any layout of {ranks} ranks; raise --world-size, or choose a device with more"
    changed = {f"parallel.{key}": getattr(found.parallel, key) for key in ("tensor", "pipeline", "sequence", "distributed_optimizer")}
    changed |= {f"training.{key}": getattr(found.training, key) for key in ("micro_batch_size", "recompute")}
    keys = " ".join(f"{key}={str(value).lower()}" for key, value in changed.items())
    return f"too little memory; the smallest layout that fits: --set {keys}"
