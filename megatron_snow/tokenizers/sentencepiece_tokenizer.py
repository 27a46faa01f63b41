"""A SentencePiece model (.model): our own, Llama-2's."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from megatron_snow.common.checksums import bytes_digest
from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers.tokenizer import ALIASES, END_OF_DOCUMENT, SPACE_MARK, SPECIAL_TOKENS, Tokenizer

# Two messages of a ModelProto, one after the other, are read as one, and the later value holds:
# normalizer_spec (field 3) { add_dummy_prefix (field 3): false }. We put the space before a text ourselves, so that
# a text which is encoded in parts gets it once.
_NO_DUMMY_PREFIX = b"\x1a\x02\x18\x00"


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece model. The ids are those of the library but for U+2581 and names of special tokens in a text."""

    def __init__(self, path: Path) -> None:
        """UserError where `path` is missing or no model."""
        model = _read(path)
        processor = _processor(path, model)
        try:
            self._processor, self.prefix = _without_dummy_prefix(model, processor)
            self._byte_ids = _byte_ids(self._processor)
            texts, special = _texts_and_special(self._processor)
            self._guard = _guard(self._processor, special)
        except (RuntimeError, ValueError, OSError) as error:  # pieces that are no UTF-8, or none at all
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path}: a damaged SentencePiece model ({reason}); restore it or train one again") from error
        if self._byte_ids:
            self.spelled = SPACE_MARK
        super().__init__(path, texts, special, bytes_digest(model))

    @property
    def byte_ids(self) -> Sequence[int]:
        return self._byte_ids

    def encode_text(self, text: str) -> NDArray[np.int32]:
        if self._guard is None or not self._guard.search(text):
            return self._processor.encode(text, return_type="numpy")
        return np.concatenate([self._processor.encode(part, return_type="numpy") for part in self._guard.split(text)])

    def save(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return shutil.copyfile(self.path, folder / "tokenizer.model")


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(f"{path}: no such tokenizer model; train one with tools/train_tokenizer.py or set tokenizer.model")
    return path.read_bytes()


def _processor(path: Path, model: bytes) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.load_from_serialized_proto(model)
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a SentencePiece model; train one with tools/train_tokenizer.py or set tokenizer.model") from error
    return processor


def _without_dummy_prefix(
    model: bytes, processor: sentencepiece.SentencePieceProcessor
) -> tuple[sentencepiece.SentencePieceProcessor, str]:
    """A processor that adds nothing to a text, and what the model's own adds."""
    probe = "a = b"
    expected = processor.encode(probe)
    if not processor.id_to_piece(expected[0]).startswith(SPACE_MARK):
        return processor, ""
    bare = sentencepiece.SentencePieceProcessor(model_proto=model + _NO_DUMMY_PREFIX)
    if bare.encode(" " + probe) == expected != bare.encode(probe):
        return bare, " "
    return processor, ""  # it removes blanks as well (T5's): not lossless


def _byte_ids(processor: sentencepiece.SentencePieceProcessor) -> list[int]:
    ids = [processor.piece_to_id(f"<0x{byte:02X}>") for byte in range(256)]
    return ids if all(processor.is_byte(token) for token in ids) else []


def _texts_and_special(processor: sentencepiece.SentencePieceProcessor) -> tuple[list[bytes], dict[str, int]]:
    """What each id spells, and the ids of special tokens: control pieces, and what has the name of one."""
    names = {*SPECIAL_TOKENS, *(name for aliases in ALIASES.values() for name in aliases)}
    texts, special = [], {}
    for token in range(processor.get_piece_size()):
        piece = processor.id_to_piece(token)
        if processor.is_control(token) or processor.is_unknown(token) or piece in names:
            texts.append("\ufffd".encode() if processor.is_unknown(token) else b"")
            special[piece] = token
        else:
            texts.append(bytes([int(piece[1:-1], 16)]) if processor.is_byte(token) else piece.replace(SPACE_MARK, " ").encode())
    if processor.eos_id() >= 0:
        special.setdefault(END_OF_DOCUMENT, processor.eos_id())
    return texts, special


def _guard(processor: sentencepiece.SentencePieceProcessor, special: dict[str, int]) -> re.Pattern[str] | None:
    """Where to cut a text that spells a special token which the model would find in it (CodeGemma's <|fim_prefix|>); None: nowhere."""
    spelled = [name for name, token in special.items() if len(name) > 1 and token in processor.encode(name)]
    return re.compile("|".join(f"(?<={re.escape(name[0])})(?={re.escape(name[1:])})" for name in spelled)) if spelled else None
