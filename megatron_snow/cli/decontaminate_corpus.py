"""Drop documents that hold text of a benchmark: its docstrings, prompts, solutions and tests, by runs of ten words.

    megatron-snow decontaminate-corpus --input corpus/deduplicated --output corpus/decontaminated \\
        --benchmarks humaneval mbpp.jsonl.gz --workers 8
    megatron-snow decontaminate-corpus --recipe examples/recipes/tiny_cpu.yaml

SHARD.hits.jsonl beside each shard names every hit: benchmark, task, kind, words and span, document. report.json
sums them up; benchmarks.lock.json holds the digests of the benchmark files, to be given as --lock to a later run.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from megatron_snow.cli.corpus_arguments import add_corpus_arguments, add_options, finish, job_of, with_options
from megatron_snow.config import Decontamination

HELP = "drop documents that hold text of a benchmark"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_corpus_arguments(parser)
    add_options(parser, Decontamination)


def run(args: argparse.Namespace) -> None:
    """Decontaminate, and print what was kept and dropped."""
    from megatron_snow.common.records import read_json
    from megatron_snow.corpus.decontamination.report import REPORT, table_of
    from megatron_snow.corpus.stages import decontaminate

    job = job_of(args, "decontaminate-corpus", lambda corpus: replace(corpus, decontamination=with_options(corpus.decontamination, args)))
    output = job.output("decontaminated")
    finish(job, decontaminate(job.corpus, job.inputs("redacted"), output, job.execution), output)
    if not job.execution.explain:
        print(table_of(read_json(output / REPORT)))
