"""Which class reads a tokenizer, by what its path is."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers.tokenizer import Tokenizer

if TYPE_CHECKING:
    from megatron_snow.tokenizers.engines import Choice

_FILES = ("tokenizer.model", "tokenizer.json", "vocab.json")  # of a folder, the first that is there: Llama-2's holds both


def load_tokenizer(path: str | Path, vocab_size: int | None = None, engine: str | Choice = "auto") -> Tokenizer:
    """Read a SentencePiece .model, a tokenizer.json, or a folder with one of these or vocab.json and merges.txt.

    `engine`: what encodes in batches (engines/); "auto" is the first that was found to give the ids of the library that defines
    them, "reference" that library; a `Choice` of another process is not tried again. UserError where it is missing, damaged or of
    no known kind, or has another `vocab_size` than the recipe says.
    """
    file = _file_of(Path(path))
    tokenizer = _read(file)
    if vocab_size is not None and tokenizer.vocab_size != vocab_size:
        raise UserError(
            f"{file}: {tokenizer.vocab_size} pieces, but tokenizer.vocab_size is {vocab_size}; "
            f"set it to {tokenizer.vocab_size} or delete the model and train it again"
        )
    from megatron_snow.tokenizers.engines import choose_engine

    if engine == "auto" or not isinstance(engine, str):
        tokenizer.choose_engine_later(partial(choose_engine, name=engine))
    else:
        choose_engine(tokenizer, engine)
    return tokenizer


def _file_of(path: Path) -> Path:
    """The file to read; of vocab.json and merges.txt their folder."""
    if path.name in ("vocab.json", "merges.txt") and path.is_file():
        path = path.parent
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f"{path}: no such tokenizer model; train one with tools/train_tokenizer.py or set tokenizer.model")
        return path
    found = next((name for name in _FILES if (path / name).is_file()), None)
    if found is None or (found == "vocab.json" and not (path / "merges.txt").is_file()):
        missing = "merges.txt beside vocab.json" if found else "tokenizer.model, tokenizer.json or vocab.json with merges.txt"
        raise UserError(f"{path}: no {missing} in this folder; put it there or name another tokenizer.model")
    return path if found == "vocab.json" else path / found


def _read(path: Path) -> Tokenizer:
    """By the first byte: JSON is an object; of a SentencePiece model it is the mark of its first field."""
    if path.is_dir() or _begins_as_json(path):
        from megatron_snow.tokenizers.byte_level_tokenizer import ByteLevelTokenizer

        return ByteLevelTokenizer(path)
    from megatron_snow.tokenizers.sentencepiece_tokenizer import SentencePieceTokenizer

    return SentencePieceTokenizer(path)


def _begins_as_json(path: Path) -> bool:
    with open(path, "rb") as file:
        return path.suffix == ".json" or file.read(64).lstrip()[:1] == b"{"
