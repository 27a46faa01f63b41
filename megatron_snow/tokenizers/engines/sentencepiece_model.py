"""What a SentencePiece .model holds, read without protobuf (sentencepiece_model.proto: ModelProto)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # SentencePiece.Type
BPE = 2  # TrainerSpec.ModelType
_FLOAT = struct.Struct("<f")


@dataclass
class Model:
    """Pieces by id; the settings that say how it encodes, with the defaults of the .proto."""

    pieces: list[bytes] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    model_type: int = 1
    byte_fallback: bool = False
    whitespace_as_suffix: bool = False
    character_map: bytes = b""
    dummy_prefix: bool = True
    removes_extra_blanks: bool = True
    escapes_blanks: bool = True


def read_model(data: bytes) -> Model:
    """Read a model that the library has read before: ValueError or IndexError where it is none."""
    model = Model()
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            piece, score, kind = _piece(value)
            model.pieces.append(piece)
            model.scores.append(score)
            model.kinds.append(kind)
        elif number == 2 and isinstance(value, bytes):
            trainer = dict(_fields(value))
            model.model_type = int(trainer.get(3, model.model_type))
            model.whitespace_as_suffix = bool(trainer.get(24, model.whitespace_as_suffix))
            model.byte_fallback = bool(trainer.get(35, model.byte_fallback))
        elif number == 3 and isinstance(value, bytes):
            normalizer = dict(_fields(value))
            model.character_map = bytes(normalizer.get(2, model.character_map))  # type: ignore[arg-type]
            model.dummy_prefix = bool(normalizer.get(3, model.dummy_prefix))
            model.removes_extra_blanks = bool(normalizer.get(4, model.removes_extra_blanks))
            model.escapes_blanks = bool(normalizer.get(5, model.escapes_blanks))
    return model


def _piece(message: bytes) -> tuple[bytes, float, int]:
    """Text, score and kind of a piece."""
    if (
        message[0] == 0x0A and message[1] < 0x80 and len(message) == message[1] + 7 and message[-5] == 0x15
    ):  # as nearly all are: text, score
        return message[2:-5], _FLOAT.unpack_from(message, len(message) - 4)[0], NORMAL
    fields = dict(_fields(message))
    return bytes(fields.get(1, b"")), float(fields.get(2, 0.0)), int(fields.get(3, NORMAL))  # type: ignore[arg-type]


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int | float]]:
    """(number, value) of each field of a message: varints, floats and bytes."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield tag >> 3, value
        elif kind == 2:
            size, place = _varint(data, place)
            yield tag >> 3, data[place : place + size]
            place += size
        elif kind == 5:
            yield tag >> 3, _FLOAT.unpack_from(data, place)[0]
            place += 4
        elif kind == 1:
            place += 8
        else:
            raise ValueError(f"wire type {kind} at byte {place}")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
