"""Tokenize into Megatron's .bin/.idx, with the flags of Megatron-LM's tools/preprocess_data.py.

    megatron-snow preprocess-data --input code.jsonl --tokenizer-model tokenizer.model \\
        --output-prefix data/code --append-eod --workers 8
    megatron-snow preprocess-data --input 'grouped/*.parquet' --group-by language,repository \\
        --tokenizer-model tokenizer.model --output-prefix data/grouped --workers 8
    megatron-snow preprocess-data --recipe examples/recipes/tiny_cpu.yaml

The first form writes PREFIX_text_document.bin and .idx, a sequence a document. The others write one
dataset a language into a folder, with the files of a (language, repository) group side by side and a
lineage from tokens to files. The same command again goes on where a killed one stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_snow.cli.arguments import add_recipe_arguments, files_of, recipe_of
from megatron_snow.cli.corpus_arguments import add_execution_arguments, execution_of
from megatron_snow.cli.megatron_arguments import add_megatron_arguments, check_megatron_arguments, tokenizer_of
from megatron_snow.common.errors import UserError

if TYPE_CHECKING:
    from megatron_snow.tokenizers import Tokenizer

HELP = "tokenize documents into .bin/.idx datasets"

Results = list[tuple[Path, Mapping[str, int]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb; names and meanings are Megatron-LM's where it has them."""
    add_recipe_arguments(parser, required=False)
    parser.add_argument("--input", nargs="+", metavar="GLOB", help="JSONL (.gz, .zst) or Parquet files, or folders of shards")
    parser.add_argument(
        "--output-prefix", metavar="PREFIX", help="path of the datasets without _KEY_document.bin; a folder with --group-by"
    )
    parser.add_argument(
        "--group-by", choices=("language,repository",), help="input is grouped shards (group-corpus): one dataset a language"
    )
    parser.add_argument(
        "--tokenizer-engine", default="auto", metavar="NAME",
        help="what encodes texts: auto (the fastest with the reference's ids), reference, bpe or fastokens",
    )  # fmt: skip
    add_execution_arguments(parser)
    add_megatron_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Tokenize, and print what came out."""
    start = time.monotonic()
    check_megatron_arguments(args)
    if bool(args.recipe) == bool(args.input):
        raise UserError("preprocess-data: give --recipe FILE, or --input GLOB with --tokenizer-model and --output-prefix")
    if args.partitions > 1 and not args.keep_sequential_samples:
        print(
            "--partitions: documents keep the order of the input here; Megatron-LM deals them out unless --keep-sequential-samples is given"
        )
    for output, counts in _recipe(args) if args.recipe else _files(args):
        print(f"{output}: {_summary(counts, time.monotonic() - start)}")


def _summary(counts: Mapping[str, int], seconds: float) -> str:
    documents, size, tokens = (counts.get(name, 0) for name in ("documents", "bytes", "tokens"))
    rates = f"{size / 1e6 / seconds:.1f} MB/s, {tokens / seconds:,.0f} tokens/s"
    return f"{documents:,} documents, {size / 1e6:.1f} MB, {tokens:,} tokens in {seconds:.1f} s ({rates})"


def _recipe(args: argparse.Namespace) -> Results:
    from megatron_snow.datasets import tokenize_shards
    from megatron_snow.pipeline import shards_in

    recipe, workspace = recipe_of(args)
    tokenizer = _tokenizer(Path(recipe.tokenizer.model or workspace.tokenizer_model), args, recipe.tokenizer.vocab_size)
    results: Results = []
    for stage, dataset in workspace.tokenized_stages().items():
        output = workspace.tokens(dataset)
        manifest = tokenize_shards(shards_in(workspace.corpus(stage)), tokenizer, output, execution_of(args, recipe), recipe.tokens)
        results.append((output, manifest.counts))
    return results


def _files(args: argparse.Namespace) -> Results:
    from megatron_snow.datasets import tokenize_shards, tokenize_texts

    execution = execution_of(args)
    if not args.output_prefix:
        raise UserError("--output-prefix: missing; it is needed with --input")
    inputs, prefix = files_of(args.input), Path(args.output_prefix)
    with tokenizer_of(args) as model:
        tokenizer = _tokenizer(model, args)
        if args.group_by:
            return [(prefix, tokenize_shards(inputs, tokenizer, prefix, execution).counts)]
        options = {"append_eod": args.append_eod, "execution": execution}
        return [(prefix, tokenize_texts(inputs, tokenizer, prefix, keys=args.json_keys, **options))]


def _tokenizer(model: Path, args: argparse.Namespace, vocab_size: int | None = None) -> Tokenizer:
    """Load it, and say which engine encodes."""
    from megatron_snow.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(model, vocab_size, args.tokenizer_engine)
    print(f"{model}: encoded by {tokenizer.engine}: {tokenizer.engine_reason}", flush=True)
    return tokenizer
