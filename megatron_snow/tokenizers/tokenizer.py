"""What every tokenizer of the project can do: text or bytes to ids and back, without loss.

Special tokens (end of document, fill-in-the-middle, file borders) are put in by the code that builds datasets and
prompts; no text, not even one that spells them, is encoded to their ids.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError

# Names of StarCoder2 (arXiv 2402.19173, 4.2), so that fill-in-the-middle tools know them.
END_OF_DOCUMENT = "<|endoftext|>"
FILE_SEPARATOR = "<file_sep>"
REPOSITORY_NAME = "<repo_name>"
FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX, FIM_PAD = "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>"
SPECIAL_TOKENS = (END_OF_DOCUMENT, FILE_SEPARATOR, REPOSITORY_NAME, FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX, FIM_PAD)

# What Llama, Llama-3, DeepSeek-Coder, Qwen2.5-Coder, StarCoder and SantaCoder call them.
ALIASES: Mapping[str, tuple[str, ...]] = {
    END_OF_DOCUMENT: ("</s>", "<|end_of_text|>", "<｜end▁of▁sentence｜>"),
    FILE_SEPARATOR: ("<|file_sep|>",),
    REPOSITORY_NAME: ("<|repo_name|>", "<reponame>"),
    FIM_PREFIX: ("<|fim_prefix|>", "<fim-prefix>", "<｜fim▁begin｜>"),
    FIM_MIDDLE: ("<|fim_middle|>", "<fim-middle>", "<｜fim▁end｜>"),
    FIM_SUFFIX: ("<|fim_suffix|>", "<fim-suffix>", "<｜fim▁hole｜>"),
    FIM_PAD: ("<|fim_pad|>", "<fim-pad>"),
}

# SentencePiece writes a space as this character. A text that holds the character itself would come
# back with a space in its place; such a text has it spelled in its three bytes.
SPACE_MARK = "\u2581"

# The ids of many texts: int32[total], and where each text ends, int64[texts].
Batch = tuple[NDArray[np.int32], NDArray[np.int64]]

# What `keeps_text` tries: blanks at both ends, letters that normal forms change, the mark for a space, and every byte that UTF-8 has.
_PROBES = (
    *("", "a", " a ", "\t\n  \r\n", "e\u0301 \ufb01 \u2460 \u212b", "\u00a0\u3000\x85", SPACE_MARK, "\u2126\u0344 A\u030a"),
    "".join(map(chr, (*range(0x800), *range(0x800, 0xD800, 0x400), *range(0xE000, 0x110000, 0x1000)))),
)


class Tokenizer(ABC):
    """A vocabulary and its encoder."""

    prefix = ""  # what a vocabulary puts before every text (Llama-2: a space); decode takes it away
    spelled = ""  # a character that the vocabulary uses for itself: in texts it is spelled in bytes

    def __init__(self, path: Path, texts: Sequence[bytes], special: Mapping[str, int], digest: str) -> None:
        """`texts`: what each id spells, b"" for special tokens; `special`: their ids by name; `digest`: of the model's files."""
        self.path, self.vocab_size, self.digest = path, len(texts), digest
        self._texts, self._special = list(texts), dict(special)
        self._engine, self._engine_reason = "reference", "the library that defines the ids"
        self._encode_batch: Callable[[Sequence[str]], Batch] | None = None
        self._chooser: Callable[[Tokenizer], None] | None = None

    @abstractmethod
    def encode_text(self, text: str) -> NDArray[np.int32]:
        """The library's ids of a text, int32[n]; without `prefix`, `spelled` and what is not UTF-8."""

    @property
    @abstractmethod
    def byte_ids(self) -> Sequence[int]:
        """The id of each of the 256 bytes, -1 where the vocabulary lacks it; empty where it has none."""

    @abstractmethod
    def save(self, folder: Path) -> Path:
        """Write the tokenizer into `folder` as one file that load_tokenizer reads; its path."""

    def encode(self, text: str | bytes) -> list[int]:
        """The ids of a text, or of bytes that need not be UTF-8; no special token is added, and none can come out."""
        return self.encode_array(text).tolist()

    def encode_array(self, text: str | bytes) -> NDArray[np.int32]:
        """The ids of a text or of bytes, int32[n]. UserError for half of a surrogate pair, which is no text."""
        text, is_utf8 = _as_text(text)
        if is_utf8 and not (self.spelled and self.spelled in text):
            return self.encode_text(self.prefix + text if text else text)
        return np.concatenate([self.encode_text(part) if is_text else self._spell(part) for part, is_text in self._parts(text)])

    def encode_batch(self, texts: Sequence[str]) -> Batch:
        """The ids of many texts, one after the other, int32[total], and where each ends, int64[texts]."""
        self._settle_engine()
        if self._encode_batch is not None:
            return self._encode_batch(texts)
        arrays = [self.encode_array(text) for text in texts]
        ends = np.cumsum([len(ids) for ids in arrays], dtype=np.int64)
        return np.concatenate([np.empty(0, np.int32), *arrays]), ends

    @property
    def engine(self) -> str:
        """Which code encodes in batches: "reference" or a name of engines.ENGINES."""
        self._settle_engine()
        return self._engine

    @property
    def engine_reason(self) -> str:
        """Why it is that one."""
        self._settle_engine()
        return self._engine_reason

    def use_engine(self, name: str, reason: str, encode_batch: Callable[[Sequence[str]], Batch] | None) -> None:
        """Let a faster engine with the same ids do `encode_batch`; None for the library that defines the ids."""
        self._engine, self._engine_reason, self._encode_batch, self._chooser = name, reason, encode_batch, None

    def choose_engine_later(self, chooser: Callable[[Tokenizer], None]) -> None:
        """Call `chooser`, which calls `use_engine`, when a batch is first encoded: to choose takes longer than to read a model."""
        self._chooser = chooser

    def _settle_engine(self) -> None:
        if self._chooser is not None:
            chooser, self._chooser = self._chooser, None
            chooser(self)

    def decode_bytes(self, ids: Sequence[int] | NDArray[np.integer]) -> bytes:
        """What ids spell; special tokens spell nothing. `keeps_text` and `keeps_bytes` say when it is exactly what was encoded.

        Of a vocabulary with a `prefix` (Llama-2) one is taken from the start, as encode puts one there: of ids
        from the middle of a text a space at their start is lost.
        """
        numbers = ids.tolist() if isinstance(ids, np.ndarray) else [int(token) for token in ids]
        if numbers and (min(numbers) < 0 or max(numbers) >= self.vocab_size):
            bad = min(numbers) if min(numbers) < 0 else max(numbers)
            raise UserError(f"{self.path}: token {bad} is not in this vocabulary of {self.vocab_size}; the ids are of another tokenizer")
        return b"".join([self._texts[token] for token in numbers]).removeprefix(self.prefix.encode())

    def decode(self, ids: Sequence[int] | NDArray[np.integer]) -> str:
        """The text of ids; decode(encode(text)) == text where `keeps_text`. What is not UTF-8 (a character cut in two) shows as U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    @cached_property
    def byte_lengths(self) -> NDArray[np.int64]:
        """Bytes of text that each id spells, int64[vocab_size]; special tokens spell none."""
        return np.array([len(text) for text in self._texts], np.int64)

    @cached_property
    def keeps_text(self) -> bool:
        """Whether decode(encode(text)) == text for any text.

        So it is for what tools/train_tokenizer.py makes, GPT-2, Llama-2, Llama-3 and DeepSeek-Coder. Qwen2 gives the NFC form
        back; StarCoder2 lacks the byte 0xF1, with which U+40000 to U+7FFFF begin (nothing is assigned there), and drops it.
        Both are in the ids of their makers.
        """
        return all(self.decode(self.encode(text)) == text for text in _PROBES)

    @property
    def keeps_bytes(self) -> bool:
        """Whether decode_bytes(encode(data)) == data for any bytes: it keeps text, and has an id for each byte."""
        return self.keeps_text and len(self.byte_ids) == 256 and min(self.byte_ids) >= 0

    def id_of(self, piece: str) -> int:
        """The id of a special token, by our name or the vocabulary's own; UserError where it has none."""
        for name in (piece, *ALIASES.get(piece, ())):
            if name in self._special:
                return self._special[name]
        raise UserError(f"{self.path}: no special token {piece}; use a tokenizer of tools/train_tokenizer.py")

    @cached_property
    def special_tokens(self) -> dict[int, str]:
        """Our names of the special tokens that the vocabulary has, by id."""
        names = {name: next((own for own in (name, *ALIASES[name]) if own in self._special), None) for name in SPECIAL_TOKENS}
        return {self._special[own]: name for name, own in names.items() if own is not None}

    @cached_property
    def eod(self) -> int:
        """The id that ends a document: <|endoftext|>, in vocabularies of others their end of sentence."""
        names = (END_OF_DOCUMENT, *ALIASES[END_OF_DOCUMENT])
        found = [self._special[name] for name in names if name in self._special]
        if found:
            return found[0]
        raise UserError(
            f"{self.path}: no token that ends a document ({', '.join(names)}); use a tokenizer of tools/train_tokenizer.py, "
            "or add one to its special tokens"
        )

    @cached_property
    def file_separator(self) -> int:
        """The id between the files of a group: <file_sep>."""
        return self.id_of(FILE_SEPARATOR)

    def _parts(self, text: str) -> Iterator[tuple[str, bool]]:
        """(part, whether the library may see it): the others are spelled in bytes. The first carries the prefix."""
        spelled = f"\udc80-\udcff{self.spelled}"
        for number, part in enumerate(re.split(f"([{spelled}]+)", text)):
            yield self.prefix + part if number == 0 else part, number % 2 == 0

    def _spell(self, part: str) -> NDArray[np.int32]:
        data = part.encode("utf-8", "surrogateescape")
        ids = np.array([self.byte_ids[byte] if self.byte_ids else -1 for byte in data], np.int32)
        if ids.min() < 0:
            raise UserError(
                f"{self.path}: this vocabulary has no byte 0x{data[ids.argmin()]:02X}, so what is not UTF-8 has no ids; "
                "leave the text out or use a tokenizer of tools/train_tokenizer.py"
            )
        return ids


def _as_text(text: str | bytes) -> tuple[str, bool]:
    """(text, True), or (text with U+DCNN for each byte 0xNN that is not UTF-8, False)."""
    if isinstance(text, bytes):
        try:
            return text.decode(), True
        except UnicodeDecodeError:
            return text.decode("utf-8", "surrogateescape"), False
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"half of a surrogate pair at character {error.start} is no text and has no ids; mend it, or give bytes") from error
    return text, True
