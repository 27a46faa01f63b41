"""Replace secrets, e-mail and IP addresses by stand-ins of the same form, so that the code still parses.

    megatron-snow redact-corpus --input corpus/deduplicated --output corpus/redacted --workers 8
    megatron-snow redact-corpus --input corpus/deduplicated --output corpus/redacted --no-addresses
    megatron-snow redact-corpus --recipe examples/recipes/tiny_cpu.yaml

SHARD.redactions.jsonl beside each shard names each finding: document, kind, detector, line, characters; never the value.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from megatron_snow.cli.corpus_arguments import add_corpus_arguments, add_options, finish, job_of, with_options
from megatron_snow.config import Redaction

HELP = "replace secrets, e-mail and IP addresses by stand-ins"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_corpus_arguments(parser)
    add_options(parser, Redaction)


def run(args: argparse.Namespace) -> None:
    """Redact, and print what was found."""
    from megatron_snow.corpus.stages import redact

    job = job_of(args, "redact-corpus", lambda corpus: replace(corpus, redaction=with_options(corpus.redaction, args)))
    output = job.output("redacted")
    manifest = redact(job.corpus, job.inputs("deduplicated"), output, job.execution)
    finish(job, manifest, output)
    for key, count in manifest.counts.items():
        if key.startswith("redacted:") and key.count(":") == 1:
            print(f"  {count:>9,}  {key.removeprefix('redacted:')} replaced")
