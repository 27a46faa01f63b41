"""Train a SentencePiece BPE model on code.

After StarCoder2 and DeepSeek-Coder where the paper is silent: digits are split, nothing is normalised,
runs of spaces are pieces of their own, unknown characters fall back to bytes. The special tokens are
control symbols: no text, not even one that spells them, is encoded to their ids.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import sentencepiece

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import atomic_file
from megatron_snow.tokenizers.tokenizer import END_OF_DOCUMENT, SPECIAL_TOKENS

# The trainer takes a tab for a mark of its own and never learns one: these are given to it. Go, C and
# Makefiles indent by tabs; five levels and more are two tokens.
_TABS = ("\t", "\t\t", "\t\t\t", "\t\t\t\t")

# SentencePiece skips "sentences" over a limit without a word, so files are cut at lines. Newlines stay
# inside the chunks, else "):\n" could not become a piece.
_CHUNK_BYTES = 4096
_LONG_LINE = 1024  # characters; at most 4 bytes each, so a chunk stays under twice the size


def train_sentencepiece(texts: Iterable[str], vocab_size: int, output: Path) -> None:
    """Write a model of exactly `vocab_size` pieces to `output`; the same texts give the same bytes.

    UserError where the texts are too few for that many pieces. 174 MB of code to 8,192 pieces: 20 s on one core.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_chunks(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            allow_whitespace_only_pieces=True,
            character_coverage=0.9999,  # one character in 10,000 is spelled in bytes
            unk_id=0,
            eos_id=1,
            bos_id=-1,
            pad_id=-1,
            eos_piece=END_OF_DOCUMENT,
            control_symbols=list(SPECIAL_TOKENS[1:]),
            user_defined_symbols=list(_TABS),
            max_sentencepiece_length=32,  # indentation is longer than the 16 of its default: 0.6 % fewer tokens of code at 64,000 pieces
            max_sentence_length=4 * _CHUNK_BYTES,
            shuffle_input_sentence=False,
            num_threads=1,  # BPE gains nothing from more, and the number is written into the model
            minloglevel=2,
        )
    except (RuntimeError, ValueError, OSError) as error:  # what it throws differs from version to version
        reason = " ".join(str(error).split())
        raise UserError(
            f"tokenizer.vocab_size: {vocab_size} pieces cannot be learnt from this text ({reason}); give more text or fewer pieces"
        ) from error
    with atomic_file(output, "wb") as file:
        file.write(model.getvalue())


def _chunks(texts: Iterable[str]) -> Iterator[str]:
    """Pieces of texts of about _CHUNK_BYTES, cut at line ends where lines are short enough."""
    for text in texts:
        chunk: list[str] = []
        size = 0
        for line in text.splitlines(keepends=True):
            for start in range(0, len(line), _LONG_LINE):
                part = line[start : start + _LONG_LINE]
                part_size = len(part.encode("utf-8", "replace"))
                if chunk and size + part_size > _CHUNK_BYTES:
                    yield "".join(chunk)
                    chunk, size = [], 0
                chunk.append(part)
                size += part_size
        if chunk:
            yield "".join(chunk)
