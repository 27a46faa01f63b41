"""Print what each phase of a recipe reads of each source, before anything runs: tokens there are and read, shares, epochs.

    megatron-snow show-blend --recipe examples/recipes/tiny_cpu.yaml
    megatron-snow show-blend --recipe examples/recipes/tiny_cpu.yaml --phase enhanced --set phases.enhanced.languages.Python=0.4

Budgets come first, shares fill the rest, language targets scale both. A contradiction, or data that is
missing or too short, is named with exit code 2. Needs the datasets, no torch and no GPU.
"""

from __future__ import annotations

import argparse

from megatron_snow.cli.arguments import add_phase_argument, add_recipe_arguments, phases_of, recipe_of

HELP = "print what each phase reads of each source"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_recipe_arguments(parser)
    add_phase_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Print a table a phase."""
    from megatron_snow.datasets.mixture_table import describe_mixture
    from megatron_snow.training import Plan
    from megatron_snow.training.data import data_workspace, open_phase

    recipe, workspace = recipe_of(args)
    names = phases_of(args, recipe)
    chosen = [planned for planned in Plan(recipe).phases if planned.phase.name in names]
    workspace = data_workspace(recipe, workspace)
    print("\n\n".join(describe_mixture(open_phase(planned, recipe, workspace)) for planned in chosen))
