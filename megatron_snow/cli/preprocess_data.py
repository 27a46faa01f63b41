"""Tokenize into Megatron's .bin/.idx, with the flags of Megatron-LM's tools/preprocess_data.py.

    megatron-snow preprocess-data --input code.jsonl --tokenizer-model tokenizer.model \\
        --output-prefix data/code --append-eod --workers 8
    megatron-snow preprocess-data --input 'grouped/*.parquet' --group-by language,repository \\
        --tokenizer-model tokenizer.model --output-prefix data/grouped --workers 8
    megatron-snow preprocess-data --recipe examples/recipes/tiny_cpu.yaml

The first form writes PREFIX_text_document.bin and .idx, a sequence a document. The others write one
dataset a language into a folder, with the files of a (language, repository) group side by side and a
lineage from tokens to files.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

from megatron_snow.cli.arguments import add_recipe_arguments, files_of, recipe_of
from megatron_snow.common.errors import UserError

HELP = "tokenize documents into .bin/.idx datasets"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb; names and meanings are Megatron-LM's where it has them."""
    add_recipe_arguments(parser, required=False)
    parser.add_argument("--input", nargs="+", metavar="GLOB", help="JSONL (.gz) or Parquet files")
    parser.add_argument("--json-keys", nargs="+", default=["text"], help="keys or columns of the texts, a dataset each (default: text)")
    parser.add_argument(
        "--output-prefix", metavar="PREFIX", help="path of the datasets without _KEY_document.bin; a folder with --group-by"
    )
    parser.add_argument(
        "--tokenizer-type",
        default="SentencePieceTokenizer",
        choices=("SentencePieceTokenizer", "GPTSentencePieceTokenizer"),
        help="both read a SentencePiece model; no piece is added to it",
    )
    parser.add_argument("--tokenizer-model", metavar="MODEL", help="the SentencePiece .model")
    parser.add_argument("--append-eod", action="store_true", help="end every document with <|endoftext|>")
    parser.add_argument(
        "--group-by", choices=("language,repository",), help="input is grouped shards (group-corpus): one dataset a language"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--log-interval", type=int, default=1000, help="documents between progress updates (default: 1000)")


def run(args: argparse.Namespace) -> None:
    """Tokenize, and print what came out."""
    start = time.monotonic()
    if bool(args.recipe) == bool(args.input):
        raise UserError("preprocess-data: give --recipe FILE, or --input GLOB with --tokenizer-model and --output-prefix")
    if args.workers < 1 or args.log_interval < 1:
        raise UserError(f"--workers {args.workers}, --log-interval {args.log_interval}: both must be at least 1")
    for output, counts in _recipe(args) if args.recipe else [_files(args)]:
        seconds = time.monotonic() - start
        documents, size, tokens = (counts.get(name, 0) for name in ("documents", "bytes", "tokens"))
        print(f"{output}: {documents:,} documents, {size / 1e6:.1f} MB, {tokens:,} tokens in {seconds:.1f} s")


def _recipe(args: argparse.Namespace) -> list[tuple[Path, Mapping[str, int]]]:
    from megatron_snow.datasets import tokenize_shards
    from megatron_snow.pipeline import Execution, shards_in
    from megatron_snow.tokenizers import load_tokenizer

    recipe, workspace = recipe_of(args)
    model = Path(recipe.tokenizer.model or workspace.tokenizer_model)
    load_tokenizer(model, recipe.tokenizer.vocab_size)
    results: list[tuple[Path, Mapping[str, int]]] = []
    for stage, dataset in (("grouped", "general"), ("held_out", "held_out")):
        inputs = shards_in(workspace.corpus(stage))
        execution = Execution(recipe.executor, recipe.workers, recipe.executor_options)
        manifest = tokenize_shards(inputs, model, workspace.tokens(dataset), execution, recipe.tokens)
        results.append((workspace.tokens(dataset), manifest.counts))
    return results


def _files(args: argparse.Namespace) -> tuple[Path, Mapping[str, int]]:
    from megatron_snow.datasets import tokenize_shards, tokenize_texts
    from megatron_snow.pipeline import Execution

    for flag in ("tokenizer_model", "output_prefix"):
        if not getattr(args, flag):
            raise UserError(f"--{flag.replace('_', '-')}: missing; it is needed with --input")
    inputs, model, prefix = files_of(args.input), Path(args.tokenizer_model), Path(args.output_prefix)
    if args.group_by:
        return prefix, tokenize_shards(inputs, model, prefix, Execution("pool", args.workers)).counts
    counts = tokenize_texts(
        inputs, model, prefix, keys=args.json_keys, append_eod=args.append_eod, workers=args.workers, log_interval=args.log_interval
    )
    return prefix, counts
