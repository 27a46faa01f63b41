"""Drop documents by StarCoder's rules: long lines, few letters, XML, markup without text, data files.

megatron-snow filter-corpus --input corpus/collected --output corpus/filtered --workers 8
megatron-snow filter-corpus --recipe examples/recipes/tiny_cpu.yaml
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from megatron_snow.cli.corpus_arguments import add_corpus_arguments, add_options, job_of, print_counts, with_options
from megatron_snow.config import Filters

HELP = "drop documents by StarCoder's rules"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb; 0 switches a rule off."""
    add_corpus_arguments(parser)
    add_options(parser, Filters)


def run(args: argparse.Namespace) -> None:
    """Filter, and print what was kept and dropped."""
    from megatron_snow.corpus.stages import filter_documents

    job = job_of(args, "filter-corpus", lambda corpus: replace(corpus, filters=with_options(corpus.filters, args)))
    output = job.output("filtered")
    print_counts(filter_documents(job.corpus, job.inputs("collected"), output, job.execution), output)
