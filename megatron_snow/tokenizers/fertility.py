"""How well a vocabulary fits texts: bytes a token, tokens a line, what is spelled in bytes, what is never used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_snow.tokenizers.tokenizer import Tokenizer


class Fertility:
    """Counts of one tokenizer on texts of one language, or of several together."""

    def __init__(self, vocab_size: int) -> None:
        self.documents = self.bytes = self.lines = self.tokens = self.byte_tokens = 0
        self.used = np.zeros(vocab_size, bool)  # the ids that were met

    def add(self, texts: Sequence[str], ids: NDArray[np.int32], spells_byte: NDArray[np.bool_]) -> None:
        """Count texts and their ids, int32[n]; `spells_byte`: bool[vocab_size], see `byte_tokens_of`."""
        self.documents += len(texts)
        self.bytes += sum(len(text.encode()) for text in texts)
        self.lines += sum(text.count("\n") + bool(text and text[-1] != "\n") for text in texts)
        self.tokens += len(ids)
        self.byte_tokens += int(np.count_nonzero(spells_byte[ids]))
        self.used[ids] = True

    def merge(self, other: Fertility) -> None:
        """Add what another has counted."""
        for name in ("documents", "bytes", "lines", "tokens", "byte_tokens"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.used |= other.used

    def as_dict(self) -> dict[str, Any]:
        """The counts and their ratios; a ratio to nothing is 0."""
        unused = len(self.used) - int(np.count_nonzero(self.used))
        return {
            "documents": self.documents,
            "bytes": self.bytes,
            "lines": self.lines,
            "tokens": self.tokens,
            "bytes_per_token": self.bytes / max(1, self.tokens),
            "tokens_per_line": self.tokens / max(1, self.lines),
            "byte_fallback_share": self.byte_tokens / max(1, self.tokens),
            "unused": unused,
            "unused_share": unused / len(self.used),
        }


class FertilityCounter:
    """What a tokenizer makes of texts, by language."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.languages: dict[str, Fertility] = {}
        self._spells_byte = byte_tokens_of(tokenizer)

    def add(self, language: str, texts: Sequence[str]) -> None:
        """Encode texts of a language and count."""
        ids, _ = self.tokenizer.encode_batch(texts)
        if language not in self.languages:
            self.languages[language] = Fertility(self.tokenizer.vocab_size)
        self.languages[language].add(texts, ids, self._spells_byte)

    def report(self) -> dict[str, Any]:
        """The tokenizer and its figures: of all texts, and of each language, the largest first."""
        everything = Fertility(self.tokenizer.vocab_size)
        for fertility in self.languages.values():
            everything.merge(fertility)
        largest_first = sorted(self.languages.items(), key=lambda item: (-item[1].bytes, item[0]))
        return {
            "path": str(self.tokenizer.path),
            "digest": self.tokenizer.digest,
            "vocab_size": self.tokenizer.vocab_size,
            "engine": self.tokenizer.engine,
            "keeps_text": self.tokenizer.keeps_text,
            "keeps_bytes": self.tokenizer.keeps_bytes,
            "special_tokens": {name: token for token, name in self.tokenizer.special_tokens.items()},
            "all": everything.as_dict(),
            "languages": {language: fertility.as_dict() for language, fertility in largest_first},
        }


def byte_tokens_of(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """bool[vocab_size]: the ids that spell a part of a character, and the byte pieces of a vocabulary that has characters beside them."""
    parts = np.array([not _is_utf8(tokenizer.decode_bytes([token])) for token in range(tokenizer.vocab_size)], bool)
    has_characters = bool(tokenizer.byte_ids) and tokenizer.encode_text("a").tolist() != [tokenizer.byte_ids[ord("a")]]
    if has_characters:
        parts[[token for token in tokenizer.byte_ids if token >= 0]] = True
    return parts


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
