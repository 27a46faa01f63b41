"""Print the very samples that a data-parallel rank trains on in a step, as text with document borders.

    megatron-snow show-batch --recipe examples/recipes/tiny_cpu.yaml --step 1 --rank 0

Steps count from 1 over all phases. Lines in «» are not in the data: they name the file that follows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_snow.cli.arguments import add_recipe_arguments, recipe_of
from megatron_snow.common.errors import UserError

if TYPE_CHECKING:
    from megatron_snow.config import Phase, Recipe

HELP = "print the samples of a training step as text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_recipe_arguments(parser)
    parser.add_argument("--step", type=int, required=True, metavar="N", help="the step, from 1 over all phases")
    parser.add_argument("--rank", type=int, default=0, metavar="K", help="the data-parallel rank (default: 0)")


def run(args: argparse.Namespace) -> None:
    """Print each sample of the rank."""
    from megatron_snow.datasets import BatchPrinter, PhaseData, rank_rows
    from megatron_snow.tokenizers import SentencePieceTokenizer

    recipe, workspace = recipe_of(args)
    phase, phase_step = phase_of_step(recipe, args.step)
    if not 0 <= args.rank < recipe.parallel.data:
        raise UserError(f"--rank {args.rank}: the recipe has {recipe.parallel.data} data-parallel ranks, 0 to {recipe.parallel.data - 1}")
    model = Path(recipe.tokenizer.model or workspace.tokenizer_model)
    tokenizer = SentencePieceTokenizer.load(model, recipe.tokenizer.vocab_size)
    batch = recipe.training.global_batch_size
    samples = recipe.steps(phase) * batch
    data = PhaseData(phase, workspace=workspace, seq_length=recipe.model.seq_length, samples=samples, seed=recipe.seed)
    printer = BatchPrinter(data, tokenizer)
    where = f"phase {phase.name}, its step {phase_step + 1} of {recipe.steps(phase)}"
    print(f"step {args.step}, {where}, rank {args.rank} of {recipe.parallel.data}")
    for i in rank_rows(phase_step, batch, args.rank, recipe.parallel.data):
        print(printer.text(i))


def phase_of_step(recipe: Recipe, step: int) -> tuple[Phase, int]:
    """The phase that holds a step (from 1 over all phases), and the step within it (from 0)."""
    first = 1
    for phase in recipe.phases:
        if first <= step < first + recipe.steps(phase):
            return phase, step - first
        first += recipe.steps(phase)
    raise UserError(f"--step {step}: the recipe has steps 1 to {first - 1}")
