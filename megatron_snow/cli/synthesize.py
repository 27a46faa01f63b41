"""Let an LLM rewrite top-scored seeds into problem-solving code files (paper 2.4).

    megatron-snow synthesize --recipe examples/recipes/tiny_cpu.yaml
    megatron-snow synthesize --recipe R.yaml --endpoint http://127.0.0.1:8000/v1 --set synthesis.model=NAME

Needs annotate-corpus. Any OpenAI-compatible endpoint will do; its key, where it wants one, is read from OPENAI_API_KEY.
Each response is kept below synthesis/responses, so an interrupted run goes on and a second run asks nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from megatron_snow.cli.arguments import add_recipe_arguments, recipe_of

HELP = "rewrite top-scored seeds into synthetic code files with an LLM"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--recipe, --set, --output, --endpoint."""
    add_recipe_arguments(parser)
    parser.add_argument(
        "--endpoint", metavar="URL", help='base URL of an OpenAI-compatible server, or "local"; overrides synthesis.endpoint'
    )


def run(arguments: argparse.Namespace) -> None:
    """Print what it will cost, then ask and check."""
    from megatron_snow.synthesis import plan_requests, synthesize_documents

    recipe, workspace = recipe_of(arguments)
    if arguments.endpoint:
        recipe = replace(recipe, synthesis=replace(recipe.synthesis, endpoint=arguments.endpoint))
    print(plan_requests(recipe, workspace).describe(recipe.synthesis), flush=True)
    counts = synthesize_documents(recipe, workspace).counts
    dropped = ", ".join(f"{name.removeprefix('dropped:')} {count}" for name, count in counts.items() if name.startswith("dropped:"))
    print(
        f"{counts.get('accepted', 0)} of {counts.get('requested', 0)} accepted{f' (dropped: {dropped})' if dropped else ''}, "
        f"{counts.get('completion_tokens', 0):,} completion tokens ({workspace.synthesis('documents')})"
    )
