"""From tokens to files and from files to tokens: which repository, path and licence, and where it is or will be read in training.

    megatron-snow trace-tokens --dataset tokens/general/Python --token 123456 --tokenizer-model tokenizer/tokenizer.model
    megatron-snow trace-tokens --dataset tokens/general --repository owner/name --path 'src/*.py'
    megatron-snow trace-tokens --recipe examples/recipes/tiny_cpu.yaml --swhid swh:1:cnt:... --json

Tokens are numbered from the start of the .bin. With --recipe the datasets of its phases are searched, unless --dataset names one, and
each file's samples (numbered within the phase) and steps (over all phases) are told.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megatron_snow.cli.arguments import add_recipe_arguments, recipe_of
from megatron_snow.common.errors import UserError

if TYPE_CHECKING:
    from megatron_snow.datasets.lineage import Lineage
    from megatron_snow.training.token_uses import TokenUses

HELP = "lead from tokens to files, and from files to tokens, samples and steps"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_recipe_arguments(parser, required=False)
    parser.add_argument("--dataset", metavar="PATH", help="a folder of datasets, or the path of one without .bin")
    parser.add_argument("--token", type=int, nargs="+", metavar="N", help="places in the .bin of one dataset, from 0")
    add_selection(parser)
    parser.add_argument("--tokenizer-model", metavar="MODEL", help="shows the text around each --token (default: the recipe's)")
    parser.add_argument("--context", type=int, default=24, metavar="N", help="tokens of text on both sides (default: 24)")
    parser.add_argument("--json", action="store_true", help="a JSON object a line")


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Options that name files."""
    parser.add_argument("--repository", nargs="+", metavar="NAME", help="all files of repositories, as the lineage writes them")
    parser.add_argument("--path", default="", metavar="GLOB", help="of those only files whose path fits; * stands for slashes too")
    parser.add_argument("--id", nargs="+", metavar="ID", help="files by the id of their text")
    parser.add_argument("--swhid", nargs="+", metavar="SWHID", help="files by Software Heritage's name (swh:1:cnt:...)")
    parser.add_argument("--sha256", nargs="+", metavar="DIGEST", help="files by the digest of their bytes")


def run(args: argparse.Namespace) -> None:
    """Trace and print."""
    from megatron_snow.datasets.tracing import open_lineages

    lineages = [lineage for folder in _folders(args) for lineage in open_lineages(folder)]
    if args.token and len(lineages) > 1:
        names = ", ".join(str(lineage.prefix) for lineage in lineages[:5])
        raise UserError(f"--token: of which dataset? Name one with --dataset: {names}")
    uses = _uses(args)
    for traced in _tokens(args, lineages[0]) if args.token else _files(args, lineages):
        _print(traced, uses, args.json)


def _folders(args: argparse.Namespace) -> list[Path]:
    if args.dataset:
        return [Path(args.dataset)]
    if not args.recipe:
        raise UserError("trace-tokens: give --dataset PATH, or --recipe FILE to search all datasets of its phases")
    from megatron_snow.datasets.sources import dataset_path
    from megatron_snow.training.data import data_workspace
    from megatron_snow.training.token_uses import is_made

    recipe, run_folder = recipe_of(args)
    workspace = data_workspace(recipe, run_folder)
    names = list(dict.fromkeys(blend.dataset for phase in recipe.phases for blend in phase.data))
    made = [name for name in names if is_made(name, workspace)]  # a run under way has not made all
    return [dataset_path(name, workspace) for name in made or names]


def _uses(args: argparse.Namespace) -> TokenUses | None:
    if not args.recipe:
        return None
    from megatron_snow.training.token_uses import TokenUses

    return TokenUses(*recipe_of(args))


def _tokens(args: argparse.Namespace, lineage: Lineage) -> Iterator[dict[str, Any]]:
    from megatron_snow.datasets.tracing import trace_token
    from megatron_snow.tokenizers import load_tokenizer

    model, tokenizer = args.tokenizer_model, None
    if not model and args.recipe:
        recipe, workspace = recipe_of(args)
        model = recipe.tokenizer.model or workspace.tokenizer_model
    if model:
        tokenizer = load_tokenizer(Path(model))
        if (made_with := lineage.description.get("tokenizer")) not in (None, tokenizer.digest):
            raise UserError(f"{model}: {lineage.prefix} was made with another tokenizer (digest {made_with}, not {tokenizer.digest})")
    for token in args.token:
        yield trace_token(lineage, token, tokenizer, args.context).as_dict()


def _files(args: argparse.Namespace, lineages: list[Lineage]) -> Iterator[dict[str, Any]]:
    from megatron_snow.datasets.selection import selection_of
    from megatron_snow.datasets.tracing import trace_files

    where = Path(args.dataset or args.recipe)
    for traced in trace_files(lineages, selection_of(vars(args)), where):
        yield traced.as_dict()


def _print(traced: dict[str, Any], uses: TokenUses | None, as_json: bool) -> None:
    file = traced["file"]
    first, count = (traced["token"], 1) if "token" in traced else (file["token_start"], file["tokens"])
    if uses is not None:
        traced["read"] = [use.as_dict() for use in uses.of(Path(traced["dataset"]), first, count)]
    print(json.dumps(traced, ensure_ascii=False) if as_json else "\n".join(_lines(traced, file)))


def _lines(traced: dict[str, Any], file: dict[str, Any]) -> Iterator[str]:
    start = file["token_start"]
    if "token" in traced:
        place = f"token {traced['place']:,} of {file['tokens']:,}" if traced["place"] < file["tokens"] else "the separator after it"
        yield f"{traced['dataset']} token {traced['token']:,}: id {traced['id']}, {place}"
    else:
        yield f"{traced['dataset']} tokens {start:,} to {start + file['tokens']:,}"
    facts = (file["language"], file["licence"], f"{file['size']:,} bytes", f"id {file['id']}", file["swhid"])
    yield f"  {file['repository']} {file['path']} ({', '.join(fact for fact in facts if fact)})"
    if traced.get("text"):
        yield f"  {traced['before']}«{traced['text']}»{traced['after']}".replace("\n", "\n  ")
    for use in traced.get("read", []):
        samples = ", ".join(f"{sample} (step {step})" for sample, step in zip(use["samples"], use["steps"]))
        yield f"  phase {use['phase']}: " + (f"sample {samples}" if samples else "not read")
