"""An engine held against the library that defines the ids."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers.tokenizer import SPECIAL_TOKENS, Batch, Tokenizer

Encoder = Callable[[Sequence[str]], Batch]

SAMPLED = 2000  # one text in so many is encoded twice: of engines 20 to 100 times as fast, 1 to 5 % of the time
_LONGEST = 200_000  # characters of a text that is encoded twice
_MADE = 400  # texts made of the vocabulary's own pieces
_PIECES = 12  # of each

# Where encoders have gone wrong: blanks and line ends, marks of their own, what normal forms change, what a regex engine
# of another Unicode version counts otherwise, numbers, and text that spells what is no text.
_ATOMS = (
    "a", "A", "é", "e\u0301", "ß", "ﬁ", "Ω", "中文", "한국어", "\u1112\u1161\u11ab", "नमस्ते", "עברית", "العربية", "ไทย", "\U0001d518",
    "\U0001f600", "\U0001f469\u200d\U0001f4bb", "\u2581", "\u2581\u2581", "\u0120", "\u010a", "\u00a0", "\u3000", "\u200b", "\ufeff",
    "\ufffd", "\x00", "\x01", "\x1b[0m", "\x7f", "\x85", "\u2028", " ", "  ", "   ", "        ", "\t", "\t\t", "\t\t\t\t\t", "\n",
    "\n\n\n", "\r", "\r\n", "\v", "\f", " \t \n ", "0", "1234567890", "3.14e-10", "0xFF", "½", "²", "٣", "'s", "'LL", "don't", "I'VE",
    "==", "===", "!!!!", "->", "//", "/*", "*/", "():", "\\n", "{}", "_x", "__init__", "camelCase", "snake_case", "SHOUT", "<0x41>",
    "<unk>", "<s>", "</s>", "<|im_start|>", "[UNK]", "##a", *SPECIAL_TOKENS,
)  # fmt: skip


class Unsupported(Exception):
    """Why an engine cannot do a tokenizer's work."""


class EngineError(UserError):
    """An engine gave other ids than the reference; `index` is the text's place in its batch."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message, index)  # both, so that it passes from one process to another
        self.index = index

    def __str__(self) -> str:
        return str(self.args[0])

    def at(self, index: int) -> EngineError:
        """The same, where a text of the batch is a part of number `index` of something larger."""
        return EngineError(str(self), index)

    def within(self, where: str) -> EngineError:
        """The same with the name of the text's document."""
        return EngineError(f"{where}: {self}", self.index)


def probes(tokenizer: Tokenizer) -> list[str]:
    """Texts that tell encoders apart, the same each time: each atom, atoms side by side, and pieces of the vocabulary."""
    return [*_ATOMS, "", *_made_of_atoms(random.Random(0)), *_made_of_pieces(tokenizer, random.Random(1))]


def _made_of_atoms(generator: random.Random) -> Iterator[str]:
    for first in _ATOMS:
        yield first + first + generator.choice(_ATOMS)
    for _ in range(_MADE):
        yield "".join(generator.choices(_ATOMS, k=_PIECES))
    for atom in ("a", " ", "\t", "\n", "=", "0", "ab", "é", "\u2581"):
        yield atom * 1000
    yield "".join(generator.choices(_ATOMS, k=2000))  # one long text, and lines that never end
    yield "".join(generator.choices("abcdefghijklmnopqrstuvwxyzABCDEF0123456789+/=", k=5000))


def _made_of_pieces(tokenizer: Tokenizer, generator: random.Random) -> Iterator[str]:
    for _ in range(_MADE):
        yield tokenizer.decode(generator.choices(range(tokenizer.vocab_size), k=_PIECES))


def first_difference(tokenizer: Tokenizer, encode: Encoder, texts: Sequence[str]) -> int | None:
    """The place of the first text for which `encode` and the reference differ."""
    ids, ends = encode(texts)
    for place, (text, start, end) in enumerate(zip(texts, [0, *ends[:-1].tolist()], ends.tolist())):
        if not np.array_equal(ids[start:end], tokenizer.encode_array(text)):
            return place
    return None


def excerpt(text: str) -> str:
    """A text for a message."""
    return ascii(text if len(text) <= 60 else f"{text[:57]}...")


class Checked:
    """An engine's `encode_batch` that goes on comparing one text in SAMPLED with the reference, the first one too."""

    def __init__(self, tokenizer: Tokenizer, name: str, encode: Encoder, every: int = SAMPLED) -> None:
        self._tokenizer, self._name, self._encode, self._every = tokenizer, name, encode, every
        self._until = 0  # texts until the next one that is compared

    def __call__(self, texts: Sequence[str]) -> Batch:
        try:
            ids, ends = self._encode(texts)
        except UnicodeEncodeError:
            for text in texts:
                self._tokenizer.encode_array(text)  # the error with its remedy
            raise
        while self._until < len(texts):
            place = self._until
            if len(texts[place]) > _LONGEST:
                self._until += 1
                continue
            start = int(ends[place - 1]) if place else 0
            if not np.array_equal(ids[start : ends[place]], self._tokenizer.encode_array(texts[place])):
                raise EngineError(
                    f"{self._tokenizer.path}: engine {self._name} gives other ids than the reference for the text "
                    f"{excerpt(texts[place])}; run again with the engine reference",
                    place,
                )
            self._until += self._every
        self._until -= len(texts)
        return ids, ends
