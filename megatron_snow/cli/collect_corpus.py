"""Collect documents from repositories: path, language, role, licence, revision and text of each file.

    megatron-snow collect-corpus --source folder:checkouts --source archive:'sdists/*.tar.gz' --output corpus/collected
    megatron-snow collect-corpus --source python --source debian --max-bytes 60000000 --output corpus/collected
    megatron-snow collect-corpus --recipe examples/recipes/tiny_cpu.yaml

A source is KIND or KIND:PATH. Kinds: folder (each sub-folder a repository; of a git checkout the tracked files),
archive (tar, zip, wheels, .deb, npm and source distributions, crates; each a repository), jsonl (.gz, .zst), parquet
(columns of The Stack v1 and v2, StarCoderData or ours), python (standard library and installed distributions),
debian (installed packages). Notebooks become code with text cells. Prose (Markdown, Text) is collected where --languages
names it. Two repositories of one name are told apart as NAME and NAME#2.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import get_args, get_type_hints

from megatron_snow.cli.corpus_arguments import add_corpus_arguments, add_options, finish, job_of, with_options
from megatron_snow.common.errors import UserError, nearest
from megatron_snow.config import Corpus, Source

HELP = "collect documents from repositories, archives and tables"
_KEYS = (
    "languages",
    "first_repositories",
    "max_bytes",
    "max_language_share",
    "max_repository_share",
    "max_file_bytes",
    "licence_kinds",
    "opt_out",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_corpus_arguments(parser, reads_shards=False)
    parser.add_argument("--source", action="append", default=[], metavar="KIND[:PATH]", help="where to collect from; may be repeated")
    parser.add_argument("--seed", type=int, help="of the order of repositories (default: the recipe's, else 1234)")
    add_options(parser, Corpus, _KEYS)


def run(args: argparse.Namespace) -> None:
    """Collect, and print what was kept and dropped."""
    from megatron_snow.corpus.stages import collect

    if not args.recipe and not args.source:
        raise UserError("collect-corpus: give --source KIND[:PATH] and --output DIR, or --recipe FILE")
    sources = tuple(map(source_of, args.source))
    job = job_of(args, "collect-corpus", lambda corpus: replace(with_options(corpus, args), sources=sources or corpus.sources))
    output = job.output("collected")
    finish(job, collect(job.corpus, job.seed, output, job.execution), output)


def source_of(text: str) -> Source:
    """The source that KIND or KIND:PATH names."""
    kind, _, path = text.partition(":")
    kinds = get_args(get_type_hints(Source)["kind"])
    if kind not in kinds:
        raise UserError(f"--source {text}: {kind!r} is not one of {', '.join(kinds)}{nearest(kind, kinds)}")
    return Source(kind, path)  # type: ignore[arg-type]
