"""Print the very samples that a data-parallel rank trains on in a step, as text with document borders.

    megatron-snow show-batch --recipe examples/recipes/tiny_cpu.yaml --step 1 --rank 0

Steps count from 1 over all phases. Lines in «» are not in the data: they name the file that follows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from megatron_snow.cli.arguments import add_recipe_arguments, recipe_of
from megatron_snow.common.errors import UserError

HELP = "print the samples of a training step as text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_recipe_arguments(parser)
    parser.add_argument("--step", type=int, required=True, metavar="N", help="the step, from 1 over all phases")
    parser.add_argument("--rank", type=int, default=0, metavar="K", help="the data-parallel rank (default: 0)")


def run(args: argparse.Namespace) -> None:
    """Print each sample of the rank."""
    from megatron_snow.datasets import BatchPrinter
    from megatron_snow.tokenizers import load_tokenizer
    from megatron_snow.training import Plan
    from megatron_snow.training.data import BatchReader, data_workspace

    recipe, workspace = recipe_of(args)
    step, ranks = Plan(recipe).step(args.step), recipe.parallel.data
    if not 0 <= args.rank < ranks:
        raise UserError(f"--rank {args.rank}: the recipe has {ranks} data-parallel ranks, 0 to {ranks - 1}")
    workspace = data_workspace(recipe, workspace)
    tokenizer = load_tokenizer(Path(recipe.tokenizer.model or workspace.tokenizer_model), recipe.tokenizer.vocab_size)
    printer = BatchPrinter(BatchReader(recipe, workspace).phase(step.planned), tokenizer)
    number_in_phase = step.number - step.planned.first_step + 1
    print(f"step {step.number}, phase {step.phase.name}, its step {number_in_phase} of {step.planned.steps}, rank {args.rank} of {ranks}")
    for sample in step.rows(args.rank, ranks):
        print(printer.text(sample))
