"""Score checkpoints of a run on domains: held-out code by language, source and role, documentation, any texts, solutions.

    megatron-snow score-domains --recipe examples/recipes/tiny_cpu.yaml --domain prose='texts/**/*.md' --domain maths=maths.jsonl
    megatron-snow score-domains --recipe examples/recipes/tiny_cpu.yaml --checkpoint 128 184 --split test --json

The ends of phases by default, in one process; under torchrun in the recipe's layout. Prints tables in Markdown of phases x
domains, with differences to the first column. docs/domains.md says what each row is.
"""

from __future__ import annotations

import argparse
import json
import os

from megatron_snow.cli.arguments import add_recipe_arguments, recipe_of
from megatron_snow.common.errors import UserError
from megatron_snow.config import check_recipe
from megatron_snow.training.speaking import fall_silent, speaks_for_machine

HELP = "score checkpoints on languages, sources, roles, documentation and texts given by path"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_recipe_arguments(parser)
    parser.add_argument("--checkpoint", type=int, nargs="+", default=[], metavar="STEP", help="these (default: the ends of phases)")
    parser.add_argument(
        "--domain", action="append", default=[], metavar="NAME=PATH", help="texts (.txt, .md, JSONL, Parquet; a glob) beside the recipe's"
    )
    parser.add_argument("--split", choices=("held_out", "test"), default="held_out", help="the part of the corpus (default: held_out)")
    parser.add_argument("--json", action="store_true", help="print a JSON object a checkpoint, as held_out.jsonl has them")


def run(args: argparse.Namespace) -> None:
    """Score and print; each rank runs this, one speaks."""
    try:
        _run(args)
    except UserError:
        if speaks_for_machine():
            raise
        fall_silent()


def _run(args: argparse.Namespace) -> None:
    from megatron_snow.checkpoint import CheckpointStore
    from megatron_snow.report.domains import markdown
    from megatron_snow.training.held_out_scores import score_checkpoints, steps_to_score, with_domains

    recipe, workspace = recipe_of(args)
    recipe = with_domains(recipe, dict(_named(domain) for domain in args.domain))
    if problems := [f"{key}: {message}" for key, message in check_recipe(recipe)]:
        raise UserError("\n  ".join(problems))
    steps = steps_to_score(recipe, CheckpointStore(workspace.checkpoints, keep=1), args.checkpoint)
    records = list(score_checkpoints(recipe, workspace, steps, args.split))
    if os.environ.get("RANK", "0") == "0":
        print("\n".join(json.dumps(record) for record in records) if args.json else markdown(records), flush=True)


def _named(domain: str) -> tuple[str, str]:
    name, equals, path = domain.partition("=")
    if not name or not equals or not path:
        raise UserError(f"--domain {domain}: expected NAME=PATH, for example --domain prose='texts/*.md'")
    return name, path
