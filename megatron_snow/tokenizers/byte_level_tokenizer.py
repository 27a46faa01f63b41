"""A BPE of Hugging Face's tokenizers: byte-level (our own, GPT-2, StarCoder, Qwen2), or with byte fallback (Llama's tokenizer.json)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # a worker is one process; the library would start a thread a core in each
import tokenizers

from megatron_snow.common.checksums import bytes_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.files import atomic_file
from megatron_snow.tokenizers.byte_level_files import cleaned, read_tree
from megatron_snow.tokenizers.tokenizer import SPACE_MARK, Tokenizer


def _byte_alphabet() -> dict[str, int]:
    """The character that stands for each byte in a byte-level vocabulary (GPT-2's encoder.py, bytes_to_unicode)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + number): byte for number, byte in enumerate(others)}


ALPHABET = _byte_alphabet()
# To Latin-1, which is bytes; what is no letter of the alphabet to one that Latin-1 lacks.
_TO_BYTES = dict.fromkeys(range(256), 256) | {ord(letter): byte for letter, byte in ALPHABET.items()}


class ByteLevelTokenizer(Tokenizer):
    """A tokenizer.json, or a folder with vocab.json and merges.txt. The ids are those of the library.

    But for names of special tokens in a text: these stay text, also where the file does not mark them as special.
    """

    def __init__(self, path: Path) -> None:
        """UserError where `path` is missing, damaged or holds no BPE that keeps all bytes."""
        self.tree = cleaned(read_tree(path))  # as the library would read it
        tree, self.prefix = _without_prefix(self.tree)
        self.json = json.dumps(tree, ensure_ascii=False)  # as we have the library read it, and other engines
        self._source = path.read_bytes() if path.is_file() else json.dumps(self.tree, ensure_ascii=False).encode()
        self._backend = _backend(path, self.json)
        vocabulary: dict[str, int] = tree["model"]["vocab"]
        if tree["model"].get("byte_fallback"):
            texts = _fallback_texts(vocabulary)
            names = [f"<0x{byte:02X}>" for byte in range(256)]
            self.spelled = SPACE_MARK if any(SPACE_MARK in piece for piece in vocabulary) else ""
        else:
            texts = _alphabet_texts(vocabulary)
            names = sorted(ALPHABET, key=ALPHABET.__getitem__)
        added = self._backend.get_added_tokens_decoder()
        texts |= {token: b"" if entry.special else entry.content.encode() for token, entry in added.items()}
        # DeepSeek-Coder has "õ" beside the merges: that id is the letter, not the byte 0xF5 which "õ" stands for in the alphabet.
        ids = [vocabulary.get(name, -1) for name in names]
        self._byte_ids = [token if texts.get(token) == bytes([byte]) else -1 for byte, token in enumerate(ids)]
        special = {entry.content: token for token, entry in added.items() if entry.special}
        super().__init__(path, _as_list(path, texts), special, bytes_digest(self._source))

    @property
    def byte_ids(self) -> Sequence[int]:
        return self._byte_ids

    def encode_text(self, text: str) -> NDArray[np.int32]:
        return np.array(self._backend.encode(text, add_special_tokens=False).ids, np.int32)

    def save(self, folder: Path) -> Path:
        with atomic_file(folder / "tokenizer.json", "wb") as file:
            file.write(self._source)
        return folder / "tokenizer.json"


def _alphabet_texts(vocabulary: Mapping[str, int]) -> dict[int, bytes]:
    """What each piece of a byte-level vocabulary spells."""
    return {token: _text(piece) for piece, token in vocabulary.items()}


def _text(piece: str) -> bytes:
    try:
        return piece.translate(_TO_BYTES).encode("latin-1")
    except UnicodeEncodeError:  # not spelled in the alphabet
        return piece.encode()


def _fallback_texts(vocabulary: Mapping[str, int]) -> dict[int, bytes]:
    """The same of a vocabulary with <0x00> to <0xFF>, as SentencePiece's."""
    texts = {token: piece.replace(SPACE_MARK, " ").encode() for piece, token in vocabulary.items()}
    return texts | {vocabulary[name]: bytes([byte]) for byte in range(256) if (name := f"<0x{byte:02X}>") in vocabulary}


def _as_list(path: Path, texts: Mapping[int, bytes]) -> list[bytes]:
    size = max(texts) + 1
    if size > 2 * len(texts) + 1024:  # gaps of a few are met in real files
        raise UserError(f"{path}: an id of {size - 1} among {len(texts)} pieces; the file is damaged, restore it")
    return [texts.get(token, b"") for token in range(size)]


def _without_prefix(tree: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The tree without the normalizer that puts a space before a text, and that space: we put it there ourselves."""
    normalizer = tree.get("normalizer") or {}
    steps = normalizer.get("normalizers", [normalizer])
    kept = [step for step in steps if step != {"type": "Prepend", "prepend": SPACE_MARK}]
    if len(kept) == len(steps):
        return tree, ""
    return {**tree, "normalizer": {"type": "Sequence", "normalizers": kept} if kept else None}, " "


def _backend(path: Path, text: str) -> tokenizers.Tokenizer:
    try:
        backend = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises no narrower class
        raise UserError(
            f"{path}: not read by Hugging Face's tokenizers ({' '.join(str(error).split())[:200]}); restore the file"
        ) from error
    backend.encode_special_tokens = True  # what spells a special token is encoded as any text
    return backend
