"""The flags of Megatron-LM's tools/preprocess_data.py: what each does here, and what to do in place of those that are refused."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from megatron_snow.common.errors import UserError

SENTENCEPIECE = ("SentencePieceTokenizer", "GPTSentencePieceTokenizer", "Llama2Tokenizer")
TYPES = (*SENTENCEPIECE, "HuggingFaceTokenizer", "GPT2BPETokenizer")

_NO_TYPE: Mapping[str, str] = {
    "BertWordPieceLowerCase": "WordPiece drops blanks and newlines, which code needs; use a SentencePiece or byte-level vocabulary",
    "BertWordPieceCase": "WordPiece drops blanks and newlines, which code needs; use a SentencePiece or byte-level vocabulary",
    "TikTokenizer": "give the same vocabulary as tokenizer.json with --tokenizer-type HuggingFaceTokenizer",
    "NullTokenizer": "write ids with megatron_snow.datasets.IndexedWriter",
    "NullMultimodalTokenizer": "text only is read here",
    "MultimodalTokenizer": "text only is read here",
    "SFTTokenizer": "conversations are not read here; write them as text with their template first",
}

# Flag -> (whether it takes values, what to do instead).
_REFUSED: Mapping[str, tuple[bool, str]] = {
    "--split-sentences": (False, "sentences are not told apart here; give a list of sentences under the key, each becomes a sequence"),
    "--find-optimal-num-workers": (False, "give --workers the number of cores; encoding is what takes the time, and it scales with them"),
    "--special-tokens": (True, "ids of added tokens lie behind the vocabulary; train it with them: train-tokenizer adds those for code"),
    "--tiktoken-special-tokens": (True, "give the vocabulary as tokenizer.json with --tokenizer-type HuggingFaceTokenizer"),
    "--tokenizer-sentencepiece-legacy": (False, "it adds tokens behind the vocabulary; leave it out: the model's end of sentence is used"),
    "--legacy-tokenizer": (False, "it adds tokens behind the vocabulary; leave it out: the model's end of sentence is used"),
    "--tokenizer-metadata": (True, "the kind of tokenizer is told by --tokenizer-type and the file"),
    "--metadata-path": (True, "the kind of tokenizer is told by --tokenizer-type and the file"),
    "--trust-remote-code": (False, "no code of a tokenizer's folder is run; give its tokenizer.json"),
    "--tokenizer-hf-no-use-fast": (False, "tokenizer.json is read, which only fast tokenizers have; their ids are the same"),
}  # fmt: skip

# Of no effect in their tool for the types above, or without a flag that is refused. Flag -> whether it takes values.
_NO_EFFECT: Mapping[str, bool] = {
    "--keep-newlines": False, "--lang": True, "--workers-to-check": True, "--max-documents": True, "--performance-dir": True,
    "--vocab-size": True, "--padded-vocab-size": True, "--vocab-extra-ids": True, "--make-vocab-size-divisible-by": True,
    "--tiktoken-pattern": True, "--tiktoken-num-special-tokens": True,
}  # fmt: skip


def add_megatron_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of their tool but --input, --output-prefix and --workers, which other verbs have too."""
    group = parser.add_argument_group("as in Megatron-LM's tools/preprocess_data.py")
    group.add_argument("--json-keys", nargs="+", default=["text"], help="keys or columns of the texts, a dataset each (default: text)")
    group.add_argument("--tokenizer-type", choices=(*TYPES, *_NO_TYPE), metavar="TYPE", help=f"{', '.join(TYPES)} (default: by the file)")
    group.add_argument("--tokenizer-model", metavar="PATH", help="SentencePiece .model, tokenizer.json, or a folder with one of them")
    group.add_argument("--vocab-file", metavar="FILE", help="vocab.json of GPT2BPETokenizer")
    group.add_argument("--merge-file", metavar="FILE", help="merges.txt of GPT2BPETokenizer")
    group.add_argument("--append-eod", action="store_true", help="end every document that has tokens with <|endoftext|>")
    group.add_argument("--partitions", type=int, default=1, metavar="N", help="of no effect: files are cut as workers need it")
    group.add_argument(
        "--keep-sequential-samples", action="store_true", help="always so: documents keep the order of the input, whatever --partitions"
    )
    group.add_argument("--log-interval", type=int, default=1000, metavar="N", help="of no effect: progress is shown by time")
    group.add_argument(
        "--tokenizer-hf-no-include-special-tokens", action="store_true",
        help="of a tokenizer.json that puts tokens around every text (Llama's <s>): leave them out",
    )  # fmt: skip
    for flag, takes_values in (*((flag, values) for flag, (values, _) in _REFUSED.items()), *_NO_EFFECT.items()):
        how: dict[str, Any] = {"nargs": "+"} if takes_values else {"action": "store_true"}
        group.add_argument(flag, help=argparse.SUPPRESS, **how)


def check_megatron_arguments(args: argparse.Namespace) -> None:
    """UserError for what is refused, with what to do instead."""
    for flag, (_, remedy) in _REFUSED.items():
        if getattr(args, _name(flag)):
            raise UserError(f"{flag}: not offered; {remedy}")
    if args.tokenizer_type in _NO_TYPE:
        raise UserError(f"--tokenizer-type {args.tokenizer_type}: not offered; {_NO_TYPE[args.tokenizer_type]}")
    for flag in ("--partitions", "--log-interval"):
        if getattr(args, _name(flag)) < 1:
            raise UserError(f"{flag} {getattr(args, _name(flag))}: must be at least 1")


@contextmanager
def tokenizer_of(args: argparse.Namespace) -> Iterator[Path]:
    """The tokenizer's file or folder that the flags name, checked; there while the block runs."""
    if args.tokenizer_type == "GPT2BPETokenizer" or (args.tokenizer_type is None and args.vocab_file):
        with _gpt2_folder(args) as folder:
            yield folder
        return
    if not args.tokenizer_model:
        raise UserError("--tokenizer-model: missing; it is needed with --input")
    path = Path(args.tokenizer_model)
    if args.tokenizer_type in SENTENCEPIECE:
        path = path / "tokenizer.model" if path.is_dir() else path
        if path.suffix == ".json":
            raise UserError(f"--tokenizer-model {path}: not a SentencePiece model; give --tokenizer-type HuggingFaceTokenizer")
    elif args.tokenizer_type == "HuggingFaceTokenizer" and not path.exists():
        raise UserError(f"--tokenizer-model {path}: no such file or folder; nothing is downloaded: fetch its tokenizer.json and name it")
    elif not args.tokenizer_hf_no_include_special_tokens:
        _check_adds_nothing(path / "tokenizer.json" if path.is_dir() else path)
    yield path


@contextmanager
def _gpt2_folder(args: argparse.Namespace) -> Iterator[Path]:
    """vocab.json and merges.txt side by side under these names, where every worker's machine sees them."""
    for flag in ("--vocab-file", "--merge-file"):
        value = getattr(args, _name(flag))
        if not value or not Path(value).is_file():
            raise UserError(f"{flag} {value or ''}: {'no such file' if value else 'missing'}; GPT2BPETokenizer needs it")
    prefix = Path(args.output_prefix)
    folder = prefix.with_name(f".{prefix.name}.tokenizer")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(args.vocab_file, folder / "vocab.json")
        shutil.copyfile(args.merge_file, folder / "merges.txt")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_adds_nothing(path: Path) -> None:
    if path.suffix != ".json" or not path.is_file():
        return
    try:
        processor = json.loads(path.read_bytes()).get("post_processor")
    except (ValueError, AttributeError):
        return  # whoever loads it says so
    if _adds_tokens(processor):
        raise UserError(
            f"{path}: puts special tokens around every text, which is not done here; "
            "give --tokenizer-hf-no-include-special-tokens to leave them out"
        )


def _adds_tokens(processor: Any) -> bool:
    kind = processor.get("type") if isinstance(processor, dict) else None
    if kind == "Sequence":
        return any(map(_adds_tokens, processor["processors"]))
    return kind in ("BertProcessing", "RobertaProcessing") or (
        kind == "TemplateProcessing" and any("SpecialToken" in piece for piece in processor["single"])
    )


def _name(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")
