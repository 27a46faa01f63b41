"""Which class reads a tokenizer, by what its path is."""

from __future__ import annotations

from pathlib import Path

from megatron_snow.common.errors import UserError
from megatron_snow.tokenizers.sentencepiece_tokenizer import SentencePieceTokenizer
from megatron_snow.tokenizers.tokenizer import Tokenizer


def load_tokenizer(path: str | Path, vocab_size: int | None = None, engine: str = "auto") -> Tokenizer:
    """Read a tokenizer: a .model or a folder with one.

    UserError where it is missing, damaged or of no known kind, or has another `vocab_size` than the recipe says.
    """
    path = Path(path)
    if path.is_dir() and (path / "tokenizer.model").is_file():
        path = path / "tokenizer.model"
    tokenizer = SentencePieceTokenizer(path)
    if vocab_size is not None and tokenizer.vocab_size != vocab_size:
        raise UserError(
            f"{path}: {tokenizer.vocab_size} pieces, but tokenizer.vocab_size is {vocab_size}; "
            f"set it to {tokenizer.vocab_size} or delete the model and train it again"
        )
    return tokenizer
