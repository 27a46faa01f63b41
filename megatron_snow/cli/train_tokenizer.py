"""Train a BPE vocabulary on a seeded, language-balanced sample of code.

    megatron-snow train-tokenizer --recipe examples/recipes/tiny_cpu.yaml
    megatron-snow train-tokenizer --input 'corpus/*.parquet' --output tokenizer.model
    megatron-snow train-tokenizer --input 'corpus/*.parquet' --output tokenizer.json --kind byte_level --vocab-size 49152

sentencepiece: a .model, with byte fallback; byte_level: a tokenizer.json of Hugging Face's tokenizers.
Both split digits, change no character, keep runs of blanks and have the same special tokens.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from megatron_snow.cli.arguments import add_recipe_arguments, files_of, recipe_of
from megatron_snow.common.errors import UserError

HELP = "train a tokenizer on the corpus"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_recipe_arguments(parser, required=False)
    parser.add_argument("--input", nargs="+", metavar="GLOB", help="document shards (Parquet) or JSONL files, in place of --recipe")
    parser.add_argument("--json-key", default="text", help="the key of the text in JSONL files (default: text)")
    parser.add_argument("--vocab-size", type=int, default=64_000, help="pieces, special tokens included (default: 64000)")
    parser.add_argument("--kind", choices=("sentencepiece", "byte_level"), default="sentencepiece", help="default: sentencepiece")
    parser.add_argument("--train-bytes", type=int, default=30_000_000, help="bytes of text to train on (default: 30000000)")
    parser.add_argument("--seed", type=int, default=1234, help="of the sample (default: 1234)")


def run(args: argparse.Namespace) -> None:
    """Train, and print what came out."""
    if bool(args.recipe) == bool(args.input):
        raise UserError("train-tokenizer: give --recipe FILE, or --input GLOB and --output MODEL")
    model, counts = _train_recipe(args) if args.recipe else _train_files(args)
    print(f"{model}: trained on {counts['documents']:,} documents, {counts['bytes'] / 1e6:.1f} MB")


def _train_recipe(args: argparse.Namespace) -> tuple[Path, Mapping[str, int]]:
    from megatron_snow.datasets import train_tokenizer
    from megatron_snow.pipeline import shards_in

    recipe, workspace = recipe_of(args)
    if recipe.tokenizer.model:
        raise UserError(
            f"{args.recipe}: tokenizer.model is {recipe.tokenizer.model}; there is nothing to train, leave it empty to train one"
        )
    settings = recipe.tokenizer
    manifest = train_tokenizer(
        shards_in(workspace.corpus("grouped")),
        workspace.tokenizer_folder,
        vocab_size=settings.vocab_size,
        train_bytes=settings.train_bytes,
        seed=recipe.seed,
        kind=settings.kind,
    )
    return workspace.tokenizer_model, manifest.counts


def _train_files(args: argparse.Namespace) -> tuple[Path, Mapping[str, int]]:
    from megatron_snow.datasets import train_on_sample

    if not args.output:
        raise UserError("--output: missing; the path of the .model (of kind byte_level: the tokenizer.json) to write")
    if args.vocab_size < 300 or args.train_bytes < 1:
        raise UserError(f"--vocab-size {args.vocab_size}, --train-bytes {args.train_bytes}: at least 300 pieces and 1 byte are needed")
    counts = train_on_sample(
        files_of(args.input),
        Path(args.output),
        vocab_size=args.vocab_size,
        train_bytes=args.train_bytes,
        seed=args.seed,
        kind=args.kind,
        key=args.json_key,
    )
    return Path(args.output), counts
