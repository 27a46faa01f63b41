"""Train a byte-level BPE on code: a tokenizer.json of one expression that cuts text, then bytes.

Digits stand alone and blanks stay runs, as in the SentencePiece models. Every id spells its bytes, so nothing is ever lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import atomic_file
from megatron_snow.tokenizers.byte_level_files import CODE_SPLIT
from megatron_snow.tokenizers.tokenizer import SPECIAL_TOKENS

_LEAST = 256 + len(SPECIAL_TOKENS)


def train_byte_level(texts: Iterable[str], vocab_size: int, output: Path) -> None:
    """Write a tokenizer.json of exactly `vocab_size` pieces to `output`; the same texts give the same bytes.

    The special tokens are the first ids, then the 256 bytes, then what is learnt. UserError where the texts are too few for
    that many pieces. Memory goes with the number of different words, not with the text.
    """
    if vocab_size < _LEAST:
        raise UserError(f"tokenizer.vocab_size: {vocab_size} is below {_LEAST}: 256 bytes and {len(SPECIAL_TOKENS)} special tokens")
    tokenizer = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(tokenizers.Regex(CODE_SPLIT), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,  # a pair met once teaches nothing
        special_tokens=[tokenizers.AddedToken(name, special=True, normalized=False) for name in SPECIAL_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() < vocab_size:
        raise UserError(
            f"tokenizer.vocab_size: {vocab_size} pieces cannot be learnt from this text "
            f"(it holds {tokenizer.get_vocab_size()}); give more text or fewer pieces"
        )
    with atomic_file(output) as file:
        json.dump(json.loads(tokenizer.to_str()), file, ensure_ascii=False, indent=1)
        file.write("\n")
