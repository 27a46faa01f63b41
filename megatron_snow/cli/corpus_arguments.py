"""Options that the corpus verbs share: a recipe's run, or files in and a folder out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from megatron_snow.cli.arguments import add_recipe_arguments, files_of, recipe_of
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import Manifest
from megatron_snow.config import Corpus, Recipe, Workspace, check_corpus
from megatron_snow.pipeline import EXECUTORS, Execution

_SEED = 1234  # the recipe's default


@dataclass(frozen=True)
class Job:
    """What a corpus verb was asked to do."""

    corpus: Corpus
    seed: int
    execution: Execution
    json_lines: bool
    workspace: Workspace | None  # with --recipe
    files: list[Path]  # with --input
    folder: Path | None  # --output without --recipe

    def inputs(self, stage: str) -> list[Path]:
        """The shards to read: those of --input, else of the run's earlier stage."""
        from megatron_snow.pipeline import shards_in

        return self.files or shards_in(self._workspace.corpus(stage))

    def output(self, stage: str) -> Path:
        """The folder to write: --output, else the run's."""
        return self.folder or self._workspace.corpus(stage)

    @property
    def _workspace(self) -> Workspace:
        assert self.workspace is not None, "job_of checks that there is a recipe, or input and output"
        return self.workspace


def add_corpus_arguments(parser: argparse.ArgumentParser, *, reads_shards: bool = True) -> None:
    """--recipe or --input and --output; where and how wide it runs."""
    add_recipe_arguments(parser, required=False)
    if reads_shards:
        parser.add_argument(
            "--input", nargs="+", default=[], metavar="GLOB", help="Parquet or JSONL (.gz, .zst) files or folders of shards, not a recipe's"
        )
    parser.add_argument("--jsonl", action="store_true", help="also write the shards as OUTPUT/jsonl/SHARD.jsonl.zst")
    add_execution_arguments(parser)


def add_execution_arguments(parser: argparse.ArgumentParser) -> None:
    """Where and how wide tasks run."""
    parser.add_argument("--executor", choices=EXECUTORS, help="where the tasks run (default: the recipe's, else pool)")
    parser.add_argument("--workers", type=int, metavar="N", help="tasks at a time (default: the recipe's, else 1); the result is the same")
    parser.add_argument(
        "--executor-option", action="append", default=[], metavar="KEY=VALUE",
        help="of Slurm (partition, account, time, mem, ...) or Ray (address); may be repeated",
    )  # fmt: skip
    parser.add_argument("--explain", action="store_true", help="say which tasks would run and why, and run nothing")


def add_options(parser: argparse.ArgumentParser, section: type, names: Sequence[str] = ()) -> None:
    """An option for each of a section's keys, or for the named ones: max_bytes becomes --max-bytes."""
    hints = get_type_hints(section)
    for field in fields(section):
        if not names or field.name in names:
            flag, kind = f"--{field.name.replace('_', '-')}", hints[field.name]
            text = f"default: the recipe's, else {field.default}".replace("%", "%%")
            if kind is bool:
                parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
            elif get_origin(kind) is tuple:
                parser.add_argument(flag, nargs="+", metavar="NAME", help=text)
            elif get_args(kind):
                parser.add_argument(flag, choices=get_args(kind), help=text)
            else:
                parser.add_argument(flag, type=kind, metavar=kind.__name__.upper(), help=text)


def with_options(section: Any, args: argparse.Namespace) -> Any:
    """The section with the keys that the command line gives."""
    given = {field.name: getattr(args, field.name, None) for field in fields(section)}
    changes = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if value is not None}
    return replace(section, **changes)


def job_of(args: argparse.Namespace, verb: str, adapt: Callable[[Corpus], Corpus]) -> Job:
    """What the options ask for; `adapt` puts the verb's own options into the corpus section."""
    patterns = getattr(args, "input", None)
    if not args.recipe and not (args.output and patterns != []):
        raise UserError(f"{verb}: give --recipe FILE, or {'--input GLOB and ' if patterns == [] else ''}--output DIR")
    if args.recipe and patterns:
        raise UserError(f"{verb}: --recipe and --input exclude each other; a recipe names the files itself")
    recipe, workspace = recipe_of(args) if args.recipe else (None, None)
    corpus = adapt(recipe.corpus if recipe else Corpus())
    problems = [f"{key}: {message}" for key, message in check_corpus(corpus)]
    if problems:
        raise UserError("\n  ".join([f"{verb}: {len(problems)} problem{'s' * (len(problems) > 1)} in the options", *problems]))
    seed = getattr(args, "seed", None)
    return Job(
        corpus,
        seed if seed is not None else recipe.seed if recipe else _SEED,
        execution_of(args, recipe),
        args.jsonl,
        workspace,
        files_of(patterns) if patterns else [],
        None if args.recipe else Path(args.output),
    )


def execution_of(args: argparse.Namespace, recipe: Recipe | None = None) -> Execution:
    """Where tasks run, by the options and the recipe; UserError for a number of workers or an option that cannot be."""
    if args.workers is not None and args.workers < 1:
        raise UserError(f"--workers {args.workers}: must be at least 1")
    options = dict(recipe.executor_options) if recipe else {}
    for text in args.executor_option:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--executor-option {text}: give KEY=VALUE, for example partition=cpu")
        options[key] = value
    workers = args.workers or (recipe.workers if recipe else 1)
    return Execution(args.executor or (recipe.executor if recipe else "pool"), workers, options, args.explain)


def finish(job: Job, manifest: Manifest, output: Path) -> None:
    """Print what came out and what was dropped by which rule; write the shards as JSONL where that was asked for."""
    from megatron_snow.corpus.export import FOLDER, export_json_lines

    counts = manifest.counts
    kept, size = counts.get("kept", 0), counts.get("kept_bytes", 0)
    print(
        f"{output}: {kept:,} documents, {size / 1e6:.1f} MB kept of {counts.get('documents', 0):,}, {counts.get('bytes', 0) / 1e6:.1f} MB"
    )
    for key, count in counts.items():
        if key.startswith("dropped:") and key.count(":") == 1:
            print(f"  {count:>9,}  dropped by {key.removeprefix('dropped:')}")
    if job.json_lines or (output / FOLDER).is_dir():  # what was exported once is kept up to date
        export_json_lines(output, job.execution)
