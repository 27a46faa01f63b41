"""Real vocabularies: those of llama.cpp, written as the files that their makers publish, and Llama-2's own model."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "megatron_snow" / "vocabularies"
REASON = f"not in {CACHE}: `python -m benchmarks.fetch_vocabularies` fetches the vocabularies"

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
_BYTES_AND_WORDS = {**_BYTES, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


# How each cuts text, as its tokenizer.json says. GPT-2 and Qwen2 are written as folders with vocab.json and merges.txt.
_PRE_TOKENIZERS: dict[str, list[dict[str, Any]]] = {
    "starcoder": [_DIGITS, _BYTES_AND_WORDS],
    "refact": [_DIGITS, _BYTES_AND_WORDS],
    "deepseek-coder": [_split(p) for p in ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+")] + [_DIGITS, _BYTES],
    "llama-bpe": [
        _split(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
        _BYTES,
    ],
}
FOLDERS = {"gpt-2": "GPT2Tokenizer", "qwen2": "Qwen2Tokenizer"}
BYTE_LEVEL = (*FOLDERS, *_PRE_TOKENIZERS)
_CONTROL, _USER_DEFINED = 3, 4  # llama.cpp's token types


def vectors(name: str) -> list[tuple[str, list[int]]]:
    """(text, ids) of llama.cpp's tests of a vocabulary."""
    texts = (CACHE / f"ggml-vocab-{name}.gguf.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    lines = (CACHE / f"ggml-vocab-{name}.gguf.out").read_text().split("\n")
    return [(text, [int(token) for token in line.split()]) for text, line in zip(texts, lines)]


def write_vocabulary(name: str, metadata: dict[str, Any], folder: Path) -> Path:
    pieces, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    vocabulary = {piece: token for token, piece in enumerate(pieces)}
    merges = metadata["tokenizer.ggml.merges"]
    added = [
        {"id": token, "content": pieces[token], "special": kind == _CONTROL, "normalized": False}
        | {"single_word": False, "lstrip": False, "rstrip": False}
        for token, kind in enumerate(kinds)
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    if name in FOLDERS:
        (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
        config = {"tokenizer_class": FOLDERS[name], "added_tokens_decoder": {str(token["id"]): token for token in added}}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return folder
    tree = {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": _PRE_TOKENIZERS[name]},
        "decoder": _BYTES,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges, "ignore_merges": name == "llama-bpe"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tree), encoding="utf-8")
    return folder / "tokenizer.json"


def read_gguf(path: Path) -> dict[str, Any]:
    """The metadata of a .gguf (ggml-org/ggml, docs/gguf.md)."""
    with open(path, "rb") as file:
        magic, _, _, count = struct.unpack("<4sIQQ", file.read(24))
        assert magic == b"GGUF"
        return dict(_entries(file, count))


def _entries(file: BinaryIO, count: int) -> Iterator[tuple[str, Any]]:
    for _ in range(count):
        name = _string(file)
        (kind,) = struct.unpack("<I", file.read(4))
        yield name, _value(file, kind)


def _value(file: BinaryIO, kind: int) -> Any:
    formats = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    if kind == 8:
        return _string(file)
    if kind == 9:
        inner, count = struct.unpack("<IQ", file.read(12))
        if inner == 8:
            return [_string(file) for _ in range(count)]
        return list(struct.unpack(f"<{count}{formats[inner]}", file.read(count * struct.calcsize(formats[inner]))))
    return struct.unpack("<" + formats[kind], file.read(struct.calcsize(formats[kind])))[0]


def _string(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    return file.read(length).decode("utf-8", "replace")
