"""Write a corpus.lock: every document's repository, revision, path, SWHID, SHA-256 and licence, and no content.

    megatron-snow lock-corpus --input corpus/grouped --output corpus.lock
    megatron-snow lock-corpus --recipe examples/recipes/tiny_cpu.yaml

With a recipe the grouped shards are locked, in corpus/corpus.lock of the run. `megatron-snow restore-corpus` makes the shards
again, byte for byte, out of mirrors of their sources. Texts that went through redaction need the settings that redacted them:
the recipe's, or the options (by default all are on, as redact-corpus has them).
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from megatron_snow.cli.corpus_arguments import add_corpus_arguments, add_options, job_of, with_options
from megatron_snow.config import Redaction

HELP = "write a list without content from which a corpus can be made again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_corpus_arguments(parser)
    add_options(parser, Redaction)


def run(args: argparse.Namespace) -> None:
    """Lock, and print what was locked."""
    from megatron_snow.corpus.lock import lock_corpus

    job = job_of(args, "lock-corpus", lambda corpus: replace(corpus, redaction=with_options(corpus.redaction, args)))
    output = job.output("corpus.lock")
    header = lock_corpus(job.inputs("grouped"), output, job.corpus.redaction, job.execution)
    documents = sum(shard.rows for shard in header.shards)
    print(f"{output}: {documents:,} documents of {len(header.shards)} shards, {output.stat().st_size / 1e6:.1f} MB")
    for shard in header.shards:
        if not shard.exact:
            print(f"  {shard.name}: another program wrote it; its documents will be restored, not its bytes")
