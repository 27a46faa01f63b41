"""Keep one document of each set of equal or nearly equal ones (MinHash-LSH, verified by true Jaccard).

    megatron-snow deduplicate-corpus --input corpus/filtered --output corpus/deduplicated --workers 8
    megatron-snow deduplicate-corpus --input new/filtered --against corpus/deduplicated --output new/deduplicated
    megatron-snow deduplicate-corpus --recipe examples/recipes/tiny_cpu.yaml

The survivor of a set has the freer licence, then more stars, more forks, the earlier date. The column cluster_id names its
set; SHARD.duplicates.jsonl lists what was dropped, with the cluster. With --against all of the old corpus stays and nothing
of it is read but the candidates' text: SHARD.signed.npy beside its shards says the rest.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from megatron_snow.cli.corpus_arguments import add_corpus_arguments, add_options, finish, job_of, with_options
from megatron_snow.config import Corpus, NearDuplicates

HELP = "keep one of each set of equal or similar documents"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_corpus_arguments(parser)
    add_options(parser, NearDuplicates)
    add_options(parser, Corpus, ["memory_bytes"])
    parser.add_argument(
        "--against", nargs="+", default=[], metavar="DIR", help="outputs of earlier runs: what they hold stays, and is not looked for again"
    )


def run(args: argparse.Namespace) -> None:
    """Deduplicate, and print what was kept and dropped."""
    from megatron_snow.corpus.stages import deduplicate

    def adapt(corpus: Corpus) -> Corpus:
        return replace(with_options(corpus, args), near_duplicates=with_options(corpus.near_duplicates, args))

    job = job_of(args, "deduplicate-corpus", adapt)
    output = job.output("deduplicated")
    against = [Path(folder) for folder in args.against]
    finish(job, deduplicate(job.corpus, job.inputs("filtered"), output, job.execution, against), output)
