"""SentencePiece's BPE in csrc/data/bpe.cpp: the library's ids, and a cache of the pieces of text that come again.

For models that change no text before they merge (identity, blanks kept) and spell what they do not know in bytes: our
own and Llama-2's.
"""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.checksums import file_digest
from megatron_snow.common.native import load_native
from megatron_snow.tokenizers.engines.parity import Encoder, Unsupported
from megatron_snow.tokenizers.engines.sentencepiece_model import BPE, BYTE, NORMAL, UNUSED, USER_DEFINED, Model, read_model
from megatron_snow.tokenizers.sentencepiece_tokenizer import SentencePieceTokenizer
from megatron_snow.tokenizers.tokenizer import SPACE_MARK, Batch, Tokenizer

_SPARE = 7  # ids that the C code may write over the end


def encoder_of(tokenizer: Tokenizer) -> Encoder:
    """The encoder of a SentencePiece tokenizer. Unsupported where the C code is not built or the model needs more than it does."""
    native, reason = load_native()
    if not isinstance(tokenizer, SentencePieceTokenizer):
        raise Unsupported("not a SentencePiece model")
    if native is None or not hasattr(native, "msnow_bpe_new"):
        raise Unsupported(reason or "csrc/data was built before it: run `pip install -e .` again")
    model = read_model(tokenizer.path.read_bytes())
    why_not = _unsupported(model, tokenizer.prefix)
    if why_not:
        raise Unsupported(why_not)
    return _Encoder(native, model, tokenizer.prefix)


def version() -> str:
    """Of the compiled code: its digest, "" where it is not built."""
    native, _ = load_native()
    return file_digest(Path(native._name)) if native is not None else ""


def _unsupported(model: Model, prefix: str) -> str:
    """What of the model the C code does not do; "" where it does all."""
    if model.model_type != BPE:
        return "not BPE"
    if model.character_map or model.removes_extra_blanks or not model.escapes_blanks or model.whitespace_as_suffix:
        return "the model normalises text"
    if prefix != (" " if model.dummy_prefix else ""):
        return "the model puts something of its own before a text"
    if not model.byte_fallback or [p for p, kind in zip(model.pieces, model.kinds) if kind == BYTE] != [
        b"<0x%02X>" % n for n in range(256)
    ]:
        return "the model does not fall back to bytes"
    if UNUSED in model.kinds or not all(map(math.isfinite, model.scores)):
        return "the model has unused pieces or no scores"
    if SPACE_MARK.encode() not in model.pieces or any(not piece or b" " in piece for piece in model.pieces):
        return "the model has no piece for a space, or writes one in another way"
    return ""


class _Encoder:
    """The C encoder of one model. Threads wait for each other: it has one cache."""

    def __init__(self, native: ctypes.CDLL, model: Model, prefix: str) -> None:
        self._native, self._prefix, self._lock = native, prefix.encode(), threading.Lock()
        pieces, offsets = _joined([piece.replace(SPACE_MARK.encode(), b" ") for piece in model.pieces])
        kinds = [kind if kind in (NORMAL, USER_DEFINED, BYTE) else 0 for kind in model.kinds]
        scores, types = np.array(model.scores, np.float32), np.array(kinds, np.uint8)
        arrays = [_pointer(array) for array in (pieces, offsets, scores, types)]
        native.msnow_bpe_new.restype = ctypes.c_void_p
        self._handle = ctypes.c_void_p(native.msnow_bpe_new(*arrays, ctypes.c_int64(len(kinds))))
        weakref.finalize(self, native.msnow_bpe_free, self._handle)

    def __call__(self, texts: Sequence[str]) -> Batch:
        data, offsets = _joined([self._prefix + text.encode() if text else b"" for text in texts])
        ids, ends = np.empty(len(data) + _SPARE, np.int32), np.empty(len(texts), np.int64)
        with self._lock:
            self._native.msnow_bpe_encode(
                self._handle, _pointer(data), _pointer(offsets), ctypes.c_int64(len(texts)), _pointer(ids), _pointer(ends)
            )
        return ids[: ends[-1] if len(texts) else 0].copy(), ends  # a copy: there is room for one id a byte, a quarter is used


def _joined(parts: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All bytes, and where each part begins, one more for the end."""
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    return np.frombuffer(b"".join(parts), np.uint8), offsets


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
