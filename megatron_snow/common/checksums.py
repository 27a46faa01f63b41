"""Digests of files, text and settings. BLAKE2b-128: in the standard library, about 1 GB/s a core."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

_SIZE = 16  # bytes: 2^64 items before a collision is expected


def bytes_digest(data: bytes) -> str:
    """Hexadecimal digest of bytes (32 characters)."""
    return hashlib.blake2b(data, digest_size=_SIZE).hexdigest()


def text_digest(text: str) -> str:
    """Hexadecimal digest of text; lone surrogates are kept apart."""
    return bytes_digest(text.encode("utf-8", "surrogatepass"))


def value_digest(value: Any) -> str:
    """Digest of a JSON-like value that does not depend on the order of its keys."""
    return text_digest(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str))


def new_digest() -> hashlib.blake2b:
    """A digest to `update` with the blocks of a file, for who reads it anyway; its `hexdigest()` is what `file_digest` gives."""
    return hashlib.blake2b(digest_size=_SIZE)


def file_digest(path: Path) -> str:
    """Digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, new_digest).hexdigest()
