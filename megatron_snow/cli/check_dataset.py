"""Check indexed datasets: every byte against its seal, the .idx, the lineage and, if asked, every token id.

    megatron-snow check-dataset tokens/general                     # each .bin/.idx of a folder
    megatron-snow check-dataset tokens/general/Python --vocab-size 64000 --workers 8
    megatron-snow check-dataset their_text_document --seal         # files of others get checksums, if they are whole

A seal (PREFIX.seal.json) is written with every dataset made here. Files without one, Megatron's own, are checked for
their structure alone: of two valid .idx of the same tokens only a seal tells which was there before. Damage is named with
its bytes and the documents it hits; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_snow.common.errors import UserError

if TYPE_CHECKING:
    from megatron_snow.datasets.checking import DatasetReport

HELP = "check .bin/.idx against checksums, lineage and vocabulary"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("datasets", nargs="+", metavar="PATH", help="a folder, or the prefix of a .bin and .idx")
    parser.add_argument("--vocab-size", type=int, metavar="N", help="every token is to be one of 0 to N-1")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="threads (default: one a core)")
    parser.add_argument("--seal", action="store_true", help="write a seal where there is none and nothing is wrong")
    parser.add_argument("--json", action="store_true", help="print a JSON object a dataset, with all documents that are hit")


def run(args: argparse.Namespace) -> int:
    """Check and print; 1 where something is wrong."""
    from megatron_snow.common.progress import progress_bar
    from megatron_snow.datasets.checking import check_dataset, prefixes_of

    if args.vocab_size is not None and args.vocab_size < 1:
        raise UserError(f"--vocab-size {args.vocab_size}: at least 1")
    prefixes = [prefix for path in args.datasets for prefix in prefixes_of(Path(path))]
    all_whole = True
    for prefix in prefixes:
        with progress_bar(None, label=f"check {prefix.name}", unit="B") as bar:
            report = check_dataset(prefix, args.vocab_size, args.workers, add_seal=args.seal, advance=bar.update)
        print(json.dumps(asdict(report) | {"whole": report.whole}) if args.json else _text(report), flush=True)
        all_whole &= report.whole
    return 0 if all_whole else 1


def _text(report: DatasetReport) -> str:
    from megatron_snow.datasets.checking import problems_of

    lines = [f"{report.prefix}: {'ok' if report.whole else 'NOT OK'}"]
    if report.tokens is not None:
        lines.append(
            f"  {report.documents:,} documents ({report.empty_documents:,} empty), {report.sequences:,} sequences, "
            f"{report.tokens:,} tokens of {report.dtype}"
        )
    lines.append(f"  lineage: {'none' if report.files is None else f'{report.files:,} files'}; seal: {report.seal}")
    return "\n".join([*lines, *(f"  {line}" for line in problems_of(report))])
