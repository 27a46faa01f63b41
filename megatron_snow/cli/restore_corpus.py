"""Make the shards of a corpus.lock again from mirrors of their sources.

    megatron-snow restore-corpus --lock corpus.lock --source folder:mirrors --source archive:'sdists/*.tar.gz' --output corpus/restored

A source is KIND or KIND:PATH as for collect-corpus (folder, archive, jsonl, parquet, python, debian). Files are known by their
SHA-256, so folders may be called otherwise; of git checkouts and bare mirrors in a folder, other commits are looked at too.
What no source has stands in OUTPUT/missing.jsonl, and the exit code is 2 unless --allow-missing is given.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from megatron_snow.cli.collect_corpus import source_of
from megatron_snow.cli.corpus_arguments import add_execution_arguments, execution_of

HELP = "make a corpus again from its lock and mirrors of its sources"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--lock", required=True, metavar="FILE", help="what lock-corpus wrote")
    parser.add_argument("--source", action="append", required=True, metavar="KIND[:PATH]", help="a mirror; may be repeated")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the shards")
    parser.add_argument("--allow-missing", action="store_true", help="leave out documents that no source has")
    parser.add_argument("--max-file-bytes", type=int, default=1_000_000_000, metavar="N", help="larger files are not read (default: 1e9)")
    add_execution_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Restore, and print what came of it."""
    from megatron_snow.corpus.lock import MISSING, restore_corpus

    sources = tuple(map(source_of, args.source))
    output = Path(args.output)
    restored = restore_corpus(
        Path(args.lock), sources, output, execution_of(args), allow_missing=args.allow_missing, max_file_bytes=args.max_file_bytes
    )
    print(f"{output}: {restored.manifest.counts.get('kept', 0):,} documents, {restored.exact} of {restored.shards} shards byte for byte")
    if restored.missing:
        print(f"  {restored.missing:,} documents are missing; {output / MISSING} names them")
    if restored.other_bytes:
        print(f"  {len(restored.other_bytes)} shards hold every document in other bytes: pyarrow {restored.written_with} wrote the lock's")
