"""Encode and decode with a SentencePiece model, without loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sentencepiece

from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers.training import END_OF_DOCUMENT, FILE_SEPARATOR, SPECIAL_TOKENS

# SentencePiece writes a space as this character. A text that holds the character itself would come
# back with a space in its place; here it is spelled in its three bytes.
SPACE_MARK = "\u2581"


class SentencePieceTokenizer:
    """A SentencePiece model; for models of `train_sentencepiece`, decode(encode(x)) == x for any text."""

    def __init__(self, path: Path, processor: sentencepiece.SentencePieceProcessor) -> None:
        self.path = path
        self._processor = processor
        self.vocab_size = int(processor.get_piece_size())
        self._mark_ids = [processor.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE_MARK.encode()]

    @classmethod
    def load(cls, path: str | Path, vocab_size: int | None = None) -> SentencePieceTokenizer:
        """Read a .model; UserError where it is missing, is none, or has another `vocab_size` than the recipe says."""
        path = Path(path)
        if not path.is_file():
            raise UserError(f"{path}: no such tokenizer model; train one with tools/train_tokenizer.py or set tokenizer.model")
        processor = sentencepiece.SentencePieceProcessor()
        try:
            processor.load_from_serialized_proto(path.read_bytes())
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(f"{path}: not a SentencePiece model; train one with tools/train_tokenizer.py or set tokenizer.model") from error
        tokenizer = cls(path, processor)
        if vocab_size is not None and tokenizer.vocab_size != vocab_size:
            raise UserError(
                f"{path}: {tokenizer.vocab_size} pieces, but tokenizer.vocab_size is {vocab_size}; "
                f"set it to {tokenizer.vocab_size} or delete the model and train it again"
            )
        return tokenizer

    def encode(self, text: str) -> list[int]:
        """The ids of a text; no special token is added, and none can come out of text."""
        return self.encode_array(text).tolist()

    def encode_array(self, text: str) -> np.ndarray:
        """The ids of a text, int32[n]."""
        if SPACE_MARK not in text:
            return self._processor.encode(text, return_type="numpy")
        parts = [self._processor.encode(part, return_type="numpy") for part in text.split(SPACE_MARK)]
        mark = np.array(self._mark_ids, np.int32)
        return np.concatenate([parts[0], *(ids for part in parts[1:] for ids in (mark, part))])

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens give nothing."""
        return self._processor.decode([int(token) for token in ids])

    def id_of(self, piece: str) -> int:
        """The id of a special token; UserError where the model has none of that name."""
        token = self._processor.piece_to_id(piece)
        if token == self._processor.unk_id():
            raise UserError(f"{self.path}: no piece {piece}; use a model of tools/train_tokenizer.py")
        return int(token)

    @property
    def special_tokens(self) -> dict[int, str]:
        """Names of SPECIAL_TOKENS by id, of those that the model has."""
        ids = {self._processor.piece_to_id(name): name for name in SPECIAL_TOKENS}
        return {token: name for token, name in ids.items() if token != self._processor.unk_id()}

    @property
    def eod(self) -> int:
        """The id that ends a document: <|endoftext|>, in models of others their end-of-sentence."""
        token = self._processor.piece_to_id(END_OF_DOCUMENT)
        if token != self._processor.unk_id():
            return int(token)
        if self._processor.eos_id() >= 0:
            return int(self._processor.eos_id())
        raise UserError(f"{self.path}: neither {END_OF_DOCUMENT} nor an end-of-sentence piece; use a model of tools/train_tokenizer.py")

    @property
    def file_separator(self) -> int:
        """The id between the files of a group: <file_sep>."""
        return self.id_of(FILE_SEPARATOR)
