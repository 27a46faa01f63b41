"""Put the documents of a language and repository next to each other, and hold some out.

    megatron-snow group-corpus --input corpus/decontaminated --output corpus/grouped --held-out corpus/held_out
    megatron-snow group-corpus --input corpus/decontaminated --output corpus/grouped --test-share 0.02 --test corpus/test
    megatron-snow group-corpus --recipe examples/recipes/tiny_cpu.yaml
    megatron-snow group-corpus --input corpus/decontaminated --output corpus/imports --file-order imports --header-share 0.5

Writes LANGUAGE-00000.parquet, ... with columns `group` and `header`; all-00000.parquet, ... with --grouping repo or repo-language,
which mix languages. docs/grouping.md says what each puts into a training sequence.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

from megatron_snow.cli.corpus_arguments import add_corpus_arguments, add_options, finish, job_of, with_options
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import read_manifest
from megatron_snow.common.splits import finer_splits
from megatron_snow.config import Corpus

HELP = "group documents by language and repository"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_corpus_arguments(parser)
    parser.add_argument("--held-out", metavar="DIR", help="folder of the held-out shards (default: the run's, else a sibling of --output)")
    parser.add_argument("--test", metavar="DIR", help="folder of the test split (default: a sibling of --held-out)")
    parser.add_argument("--seed", type=int, help="of the order of groups and files (default: the recipe's, else 1234)")
    add_options(parser, Corpus, ("grouping", "file_order", "header_share", "held_out_share", "test_share", "memory_bytes"))


def run(args: argparse.Namespace) -> None:
    """Group, and print what came out."""
    from megatron_snow.corpus.stages import group

    job = job_of(args, "group-corpus", lambda corpus: with_options(corpus, args))
    output = job.output("grouped")
    held_out = Path(args.held_out) if args.held_out else job.workspace.corpus("held_out") if job.workspace else output.with_name("held_out")
    folders = {"--output": output, "--held-out": held_out}
    if args.test or job.workspace or job.corpus.test_share:
        folders["--test"] = Path(args.test) if args.test else held_out.with_name("test")
    for (flag, folder), (other, same) in combinations(reversed(folders.items()), 2):
        if folder.resolve() == same.resolve():
            raise UserError(f"{flag} {folder}: is {other} itself; give it another folder")
    inputs = job.inputs("decontaminated")
    finish(job, group(job.corpus, job.seed, inputs, output, held_out, job.execution, folders.get("--test")), output)
    for folder in list(folders.values())[1:]:
        manifest = read_manifest(folder)
        if manifest is not None:
            print(f"{folder}: {manifest.counts.get('kept', 0):,} documents held out")
            print("".join(f"  {line}\n" for line in finer_splits(manifest.counts)), end="")
