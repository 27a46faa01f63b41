"""The loop of Megatron-LM's tools/preprocess_data.py, whose script is in no package, on megatron-core's tokenizer and builder.

A pool of workers reads lines in chunks of 32, parses and encodes; the parent writes one document after the other.

    python benchmarks/tokens/peers/megatron_loop.py --input code.jsonl --tokenizer-model tokenizer.model --output-prefix code --append-eod
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Callable

from megatron.core.datasets.indexed_dataset import DType, IndexedDatasetBuilder


def loaded(path: str) -> tuple[Callable[[str], list[int]], int, int]:
    """(text to ids, vocabulary, end of document): a SentencePiece .model by megatron-core, a tokenizer.json by Hugging Face."""
    if path.endswith(".json"):
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(path)
        tokenizer.encode_special_tokens = True  # text that spells a special token stays text, as with ours
        return (
            lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
            tokenizer.get_vocab_size(),
            tokenizer.token_to_id("<|endoftext|>"),
        )
    from megatron.core.tokenizers import MegatronTokenizer

    tokenizer = MegatronTokenizer.from_pretrained(tokenizer_path=path, metadata_path={"library": "sentencepiece"})
    return tokenizer.tokenize, tokenizer.vocab_size, tokenizer.eod


class Encoder:
    """Megatron-LM's Encoder: one tokenizer a worker."""

    tokenize: Callable[[str], list[int]]
    eod: int

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args

    def initializer(self) -> None:
        Encoder.tokenize, _, Encoder.eod = loaded(self.args.tokenizer_model)

    def encode(self, line: str) -> tuple[list[int], list[int], int]:
        ids = list(Encoder.tokenize(json.loads(line)["text"]))
        lengths = [len(ids)] if ids else []
        if ids and self.args.append_eod:
            ids.append(Encoder.eod)
            lengths[-1] += 1
        return ids, lengths, len(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--input", "--tokenizer-model", "--output-prefix"):
        parser.add_argument(option, required=True)
    parser.add_argument("--append-eod", action="store_true")
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    encoder = Encoder(args)
    _, vocabulary, _ = loaded(args.tokenizer_model)
    builder = IndexedDatasetBuilder(f"{args.output_prefix}_text_document.bin", dtype=DType.optimal_dtype(vocabulary))
    with open(args.input, encoding="utf-8") as file, multiprocessing.Pool(args.workers, initializer=encoder.initializer) as pool:
        for ids, lengths, _ in pool.imap(encoder.encode, file, 32):
            builder.add_document(ids, lengths)
    builder.finalize(f"{args.output_prefix}_text_document.idx")


if __name__ == "__main__":
    main()
