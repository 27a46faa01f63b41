"""Keep one document of each set of equal or nearly equal ones (MinHash-LSH, verified by true Jaccard).

    megatron-snow deduplicate-corpus --input corpus/filtered --output corpus/deduplicated --workers 8
    megatron-snow deduplicate-corpus --recipe examples/recipes/tiny_cpu.yaml

The survivor has a known licence if any does, then the first repository and path. The column cluster_id names its set.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from megatron_snow.cli.corpus_arguments import add_corpus_arguments, add_options, job_of, print_counts, with_options
from megatron_snow.config import NearDuplicates

HELP = "keep one of each set of equal or similar documents"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_corpus_arguments(parser)
    add_options(parser, NearDuplicates)


def run(args: argparse.Namespace) -> None:
    """Deduplicate, and print what was kept and dropped."""
    from megatron_snow.corpus.stages import deduplicate

    job = job_of(args, "deduplicate-corpus", lambda corpus: replace(corpus, near_duplicates=with_options(corpus.near_duplicates, args)))
    output = job.output("deduplicated")
    print_counts(deduplicate(job.corpus, job.inputs("filtered"), output, job.execution), output)
