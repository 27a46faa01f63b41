"""Options that several verbs share."""

from __future__ import annotations

import argparse
from glob import glob
from pathlib import Path

from megatron_snow.common.errors import UserError, nearest
from megatron_snow.config import Recipe, Workspace, load_recipe


def add_recipe_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """--recipe, --set and --output of verbs that work on a whole run."""
    parser.add_argument("--recipe", required=required, metavar="FILE", help="the recipe (YAML); examples/recipes/ has some")
    parser.add_argument("--set", action="append", nargs="+", default=[], metavar="KEY=VALUE", help="change a key of the recipe")
    parser.add_argument("--output", metavar="DIR", help="the run's folder, in place of the recipe's workspace")


def recipe_of(arguments: argparse.Namespace) -> tuple[Recipe, Workspace]:
    """The checked recipe and the workspace that the options name."""
    recipe = load_recipe(arguments.recipe, [override for group in arguments.set for override in group])
    return recipe, Workspace(Path(arguments.output or recipe.workspace))


def add_phase_argument(parser: argparse.ArgumentParser) -> None:
    """--phase of verbs that look at the phases of a recipe."""
    parser.add_argument("--phase", metavar="NAME", help="this phase alone (default: all)")


def phases_of(arguments: argparse.Namespace, recipe: Recipe) -> list[str]:
    """The names of the phases that --phase chooses; UserError where there is none of that name."""
    names = [phase.name for phase in recipe.phases]
    if arguments.phase is None:
        return names
    if arguments.phase not in names:
        raise UserError(f"--phase {arguments.phase}: no such phase{nearest(arguments.phase, names)}; the recipe has {', '.join(names)}")
    return [arguments.phase]


def files_of(patterns: list[str]) -> list[Path]:
    """The files that globs and folders (their Parquet shards) name, in order; UserError for a pattern that names none."""
    files: list[Path] = []
    for pattern in patterns:
        path = Path(pattern)
        found = sorted(path.glob("*.parquet")) if path.is_dir() else [Path(name) for name in sorted(glob(pattern, recursive=True))]
        if not found:
            raise UserError(f"--input {pattern}: no such file")
        files += [file for file in found if not file.name.startswith(".")]
    return files
