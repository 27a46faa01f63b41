"""What each grouping puts into a training sequence, from the sizes of documents, or as training reads them.

    megatron-snow compare-groupings --input corpus/decontaminated --seq-length 8192 --output groupings.json
    megatron-snow compare-groupings --input 'corpus/decontaminated/*.parquet' --tokenizer tokenizer.model --output groupings.json

    megatron-snow compare-groupings --input corpus/decontaminated --tokenizer tokenizer.model --samples 1000 --output groupings.json

Shares are means over tokens: of a token's sequence, the part that is programming, of its language, of its repository, of both.
docs/grouping.md explains the columns. Tokens are estimated from bytes; with --tokenizer they are counted, which reads all text.
With --samples the documents are also grouped each way and tokenized in a temporary folder, and the files that stand next to each
other in so many training samples are compared.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from megatron_snow.cli.arguments import files_of
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import write_json

HELP = "compare what each grouping puts into a training sequence"
_BYTES_A_TOKEN = 3.1  # 3.08 measured on 57 MB of code in 17 languages with a vocabulary of 8,192 (README)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "--input", nargs="+", required=True, metavar="GLOB", help="shards of documents, before grouping, or folders of them"
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="the report (JSON)")
    parser.add_argument("--seq-length", type=int, default=8192, help="tokens of a sequence (default: 8192, the paper's)")
    parser.add_argument(
        "--file-order", choices=("random", "path", "imports"), default="random", help="of the files in a group (default: random)"
    )
    parser.add_argument("--seed", type=int, default=1234, help="of the order of groups and files (default: 1234)")
    parser.add_argument("--tokenizer", metavar="MODEL", help="a SentencePiece model that counts the tokens")
    parser.add_argument("--samples", type=int, default=0, metavar="N", help="also measure N training samples of each grouping")
    parser.add_argument("--bytes-per-token", type=float, default=_BYTES_A_TOKEN, help=f"without --tokenizer (default: {_BYTES_A_TOKEN})")


def run(args: argparse.Namespace) -> None:
    """Compare, write the report and print its tables."""
    import numpy as np

    from megatron_snow.corpus.grouping.comparison import compare, read_facts
    from megatron_snow.datasets.order import SequenceOrder, derive_key

    if args.seq_length < 1 or args.bytes_per_token <= 0:
        raise UserError(f"--seq-length {args.seq_length}, --bytes-per-token {args.bytes_per_token}: both must be above 0")
    if args.samples < 0 or (args.samples and not args.tokenizer):
        raise UserError(f"--samples {args.samples}: must be at least 0, and above it takes --tokenizer")
    facts = read_facts(files_of(args.input), _counter(args), texts=bool(args.tokenizer), file_order=args.file_order)
    key = derive_key("sequences", args.seed)
    groupings = compare(facts, args.seq_length, args.seed, args.file_order, lambda n: SequenceOrder(n, key)(np.arange(n)))
    for grouping in groupings if args.samples else ():
        groupings[grouping]["neighbours"] = _measured(args, grouping)
    settings = {name: getattr(args, name) for name in ("seq_length", "file_order", "seed", "tokenizer", "bytes_per_token", "samples")}
    write_json(Path(args.output), {"documents": facts.num_rows, **settings, "groupings": groupings})
    _print(groupings)


def _measured(args: argparse.Namespace, grouping: Any) -> dict[str, Any]:
    """What stands next to each other in training samples of the documents grouped that way."""
    from megatron_snow.config import Blend, Corpus, Curve, Phase, Workspace
    from megatron_snow.corpus.stages import group
    from megatron_snow.datasets import PhaseData, tokenize_shards
    from megatron_snow.datasets.neighbours import count_neighbours
    from megatron_snow.pipeline import shards_in

    with TemporaryDirectory(prefix="groupings.") as folder:
        workspace = Workspace(Path(folder))
        corpus = Corpus(grouping=grouping, file_order=args.file_order, held_out_share=0.0)
        group(corpus, args.seed, files_of(args.input), workspace.corpus("grouped"), workspace.corpus("held_out"))
        tokenize_shards(shards_in(workspace.corpus("grouped")), Path(args.tokenizer), workspace.tokens("general"))
        phase = Phase("general", (Blend("general"),), tokens=args.samples * args.seq_length, lr=Curve("constant", 1.0))
        data = PhaseData(phase, workspace=workspace, seq_length=args.seq_length, samples=args.samples, seed=args.seed)
        return count_neighbours(data, range(args.samples)).as_dict()


def _counter(args: argparse.Namespace) -> Callable[[Any], Any]:
    import numpy as np

    if not args.tokenizer:
        return lambda facts: np.ceil(facts["size"].to_numpy() / args.bytes_per_token).astype(np.int64)
    from megatron_snow.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(args.tokenizer)
    return lambda facts: np.array([len(tokenizer.encode_array(text)) for text in facts["content"].to_pylist()], np.int64)


def _print(groupings: dict[str, Any]) -> None:
    for name, title in (("all", "over all tokens"), ("programming_tokens", "over programming tokens")):
        print(f"{title:<26}{'programming':>12}{'language':>10}{'repository':>11}{'both':>7}{'files':>7}{'tokens a programming token':>28}")
        for grouping, report in groupings.items():
            print(f"  {grouping:<24}{_row(report[name])}{report['tokens_a_programming_token'] or 0:>28.2f}")
    for name, title in (("by_repository_sequences", "repository of sequences"), ("by_repository_languages", "repository of languages")):
        for label in next(iter(groupings.values()))[name]:
            print(f"{title} {label}")
            for grouping, report in groupings.items():
                print(f"  {grouping:<24}{_row(report[name][label])}{report[name][label]['tokens'] / 1e6:>20,.1f} M tokens")

    if all("neighbours" in report for report in groupings.values()):
        print(f"{'files side by side in training samples':<52}{'language':>10}{'repository':>11}{'both':>7}")
        for grouping, report in groupings.items():
            found = report["neighbours"]
            where = f"{grouping}: {found['pairs']:,} pairs in {found['samples']:,} samples"
            print(f"  {where:<50}{found['language']:>10.3f}{found['repository']:>11.3f}{found['both']:>7.3f}")


def _row(means: dict[str, float]) -> str:
    return f"{means['programming']:>12.3f}{means['language']:>10.3f}{means['repository']:>11.3f}{means['both']:>7.3f}{means['files']:>7.1f}"
