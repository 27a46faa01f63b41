"""Write datasets anew without some documents, and prove that they are gone.

    megatron-snow take-down --dataset tokens/general --output tokens/general-2 --repositories withdrawn.txt
    megatron-snow take-down --dataset tokens/general --output tokens/general-2 --repository owner/name --path 'vendor/*'
    megatron-snow take-down --dataset tokens/general --output tokens/general-2 --documents ids.txt --recipe run/recipe.yaml

The new datasets are, byte for byte, what preprocess-data would have made of the shards without these documents. Beside each lie
LANGUAGE.removed.parquet (which files, where they were) and LANGUAGE.takedown.json (what was asked, digests before and after, the
proof, and files that hold the same text and stayed). With --recipe, takedown.json says which samples and steps of its phases read
the removed files, and which of its checkpoints have seen them. The corpus and the old datasets stay as they are.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from megatron_snow.cli.arguments import recipe_of
from megatron_snow.cli.trace_tokens import add_selection

HELP = "rewrite datasets without some documents, with a proof"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--dataset", required=True, metavar="PATH", help="a folder of datasets, or the path of one without .bin")
    parser.add_argument("--output", required=True, metavar="DIR", help="the folder of the new datasets")
    add_selection(parser)
    parser.add_argument("--repositories", metavar="FILE", help="repositories, one a line")
    parser.add_argument("--documents", metavar="FILE", help="documents, one a line: an id, a SWHID or a SHA-256")
    parser.add_argument("--workers", type=int, default=1, help="processes, a dataset each (default: 1)")
    parser.add_argument("--recipe", metavar="FILE", help="a run whose phases read the old datasets")
    parser.add_argument("--set", action="append", nargs="+", default=[], metavar="KEY=VALUE", help="change a key of the recipe")
    parser.add_argument("--run", metavar="DIR", help="the run's folder, in place of the recipe's workspace")


def run(args: argparse.Namespace) -> None:
    """Take down, and print what went and what stayed."""
    from megatron_snow.datasets.selection import named_documents, read_names, selection_of
    from megatron_snow.datasets.takedown import take_down
    from megatron_snow.pipeline import Execution

    asked: dict[str, Any] = {name: list(getattr(args, name) or ()) for name in ("repository", "id", "swhid", "sha256")}
    if args.repositories:
        asked["repository"] += read_names(Path(args.repositories))
    if args.documents:
        for name, values in named_documents(Path(args.documents)).items():
            asked[name] += values
    selection, output = selection_of({**asked, "path": args.path}), Path(args.output)
    counts = take_down(Path(args.dataset), selection, output, Execution("pool", args.workers)).counts
    print(
        f"{output}: {counts['removed_files']:,} files with {counts['removed_tokens']:,} tokens are gone, "
        f"{counts['kept_files']:,} files with {counts['tokens']:,} tokens are as they were"
    )
    _print_proofs(output)
    if args.recipe:
        _print_uses(args, output)


def _print_proofs(output: Path) -> None:
    from megatron_snow.common.records import read_json
    from megatron_snow.datasets.takedown import REPORT

    for path in sorted(output.glob(f"*{REPORT}")):
        report = read_json(path)
        proof = report["proof"]
        if not report["removed_files"]:
            continue
        stretches = f"{proof['windows_removed']:,} stretches of {proof['window_tokens']} tokens"
        name, files = path.name.removesuffix(REPORT), report["removed_files"]
        print(f"  {name}: {files:,} files gone; of their {stretches} {proof['windows_in_kept_files']:,} are also in files that stayed")
        for kind, what in (("copies", "the same text"), ("similar", "half of it is theirs")):
            for file in proof[kind][:5]:
                print(f"    stayed, {what}: {file['repository']} {file['path']}")
            if (more := proof[f"num_{kind}"] - 5) > 0:
                print(f"    and {more:,} more, see {path}")


def _print_uses(args: argparse.Namespace, output: Path) -> None:
    from megatron_snow.training.takedown_uses import write_uses

    recipe, workspace = recipe_of(argparse.Namespace(recipe=args.recipe, set=args.set, output=args.run))
    for use in write_uses(recipe, workspace, Path(args.dataset), output):
        steps = f"{use['samples_read']:,} samples, steps {use['first_step']:,} to {use['last_step']:,}" if use["samples_read"] else "none"
        print(f"  read by phase {use['phase']}: {steps}; checkpoints that have seen them: {', '.join(use['checkpoints']) or 'none'}")
