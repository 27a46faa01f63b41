"""Run a recipe from end to end: corpus, tokens, phases, annotator, synthesis, conversion, scores, report.

    megatron-snow run-recipe --recipe examples/recipes/tiny_cpu.yaml

What is finished is skipped; an interrupted run goes on with the same command.
"""

from __future__ import annotations

import argparse

from megatron_snow.cli.arguments import add_recipe_arguments, recipe_of

HELP = "run a whole recipe, stage by stage"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_arguments(parser)
    parser.add_argument("--until", metavar="STEP", help="stop after this step (--list names them)")
    parser.add_argument("--list", action="store_true", help="print the steps and stop")
    parser.add_argument("--explain", action="store_true", help="say which steps are done and why the next would run, and run nothing")


def run(arguments: argparse.Namespace) -> None:
    from megatron_snow.recipe.plan import plan
    from megatron_snow.recipe.run import explain_recipe, run_recipe

    recipe, workspace = recipe_of(arguments)
    if arguments.list:
        print("\n".join(f"{step.name:<20}{step.title}" for step in plan(recipe)))
        return
    (explain_recipe if arguments.explain else run_recipe)(recipe, workspace, until=arguments.until)
