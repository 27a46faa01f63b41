"""Compare tokenizers on texts, language by language: bytes a token, tokens a line, byte fallback, unused vocabulary.

    megatron-snow tokenizer-report --input corpus/grouped --tokenizer tokenizer.model --output fertility.json
    megatron-snow tokenizer-report --input 'code/*.jsonl' --json-key text --tokenizer a.model b/tokenizer.json gpt2/ --output fertility.json

A tokenizer is a .model, a tokenizer.json, or a folder with one of them or vocab.json and merges.txt. Columns for each:
  B/token    bytes of text a token                bytes%   tokens that spell a part of a character
  tok/line   tokens a line of text                unused%  of the vocabulary, not met in these texts
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from megatron_snow.cli.arguments import files_of
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import write_json

HELP = "compare tokenizers on a corpus, language by language"
_SHOWN = 40  # languages in the table; all of them are in the file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--input", nargs="+", required=True, metavar="GLOB", help="document shards (Parquet), folders of them, or JSONL")
    parser.add_argument("--json-key", default="text", help="the key of the text in JSONL files (default: text)")
    parser.add_argument("--tokenizer", nargs="+", required=True, metavar="PATH", help="one tokenizer or several to compare")
    parser.add_argument("--language-bytes", type=int, default=0, metavar="N", help="of each language, the first N bytes (default: all)")
    parser.add_argument("--output", required=True, metavar="FILE", help="the report (JSON)")


def run(args: argparse.Namespace) -> None:
    """Count, write the report and print its table."""
    from megatron_snow.datasets import compare_tokenizers
    from megatron_snow.tokenizers import load_tokenizer

    if args.language_bytes < 0:
        raise UserError(f"--language-bytes {args.language_bytes}: must be at least 0 (0: all)")
    tokenizers = [load_tokenizer(path) for path in args.tokenizer]
    reports = compare_tokenizers(files_of(args.input), tokenizers, key=args.json_key, language_bytes=args.language_bytes)
    write_json(Path(args.output), {"tokenizers": reports})
    _print(args.tokenizer, reports)


def _print(paths: Sequence[str], reports: Sequence[dict[str, Any]]) -> None:
    for number, (path, report) in enumerate(zip(paths, reports), 1):
        kept = "any bytes" if report["keeps_bytes"] else "any text" if report["keeps_text"] else "not every text"
        print(f"[{number}] {path}: {report['vocab_size']:,} pieces, gives back {kept}; encoded by {report['engine']}")
    groups = "".join(
        f"{f'[{number}]':<8}{'B/token':>8}{'tok/line':>10}{'bytes%':>8}{'unused%':>9}  " for number in range(1, len(reports) + 1)
    )
    print(f"\n{'language':<20}{'MB':>9}{'documents':>11}  {groups}".rstrip())
    languages = list(reports[0]["languages"])
    for language in languages[:_SHOWN]:
        print(_row(language or "-", [report["languages"][language] for report in reports]))
    if len(languages) > _SHOWN:
        print(f"... {len(languages) - _SHOWN} more languages are in the file")
    print(_row("all", [report["all"] for report in reports]))


def _row(name: str, figures: Sequence[dict[str, Any]]) -> str:
    groups = "".join(
        f"{'':<8}{row['bytes_per_token']:>8.3f}{row['tokens_per_line']:>10.2f}{100 * row['byte_fallback_share']:>8.3f}"
        f"{100 * row['unused_share']:>9.2f}  "
        for row in figures
    )
    return f"{name:<20}{figures[0]['bytes'] / 1e6:>9.2f}{figures[0]['documents']:>11,}  {groups}".rstrip()
