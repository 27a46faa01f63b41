"""BPE vocabularies for code: SentencePiece with byte fallback, and byte-level.

`tokenizer` says what a tokenizer can do, `loading` reads one, `sentencepiece_training` and `byte_level_training`
make one, `export` writes what transformers needs to give the same ids, `fertility` says how well one fits a corpus.
"""

from megatron_snow.tokenizers.byte_level_training import train_byte_level
from megatron_snow.tokenizers.export import write_huggingface_tokenizer
from megatron_snow.tokenizers.fertility import FertilityCounter
from megatron_snow.tokenizers.loading import load_tokenizer
from megatron_snow.tokenizers.sentencepiece_training import train_sentencepiece
from megatron_snow.tokenizers.tokenizer import (
    END_OF_DOCUMENT,
    FILE_SEPARATOR,
    FIM_MIDDLE,
    FIM_PAD,
    FIM_PREFIX,
    FIM_SUFFIX,
    REPOSITORY_NAME,
    SPECIAL_TOKENS,
    Tokenizer,
)

__all__ = [
    "END_OF_DOCUMENT",
    "FILE_SEPARATOR",
    "FIM_MIDDLE",
    "FIM_PAD",
    "FIM_PREFIX",
    "FIM_SUFFIX",
    "REPOSITORY_NAME",
    "SPECIAL_TOKENS",
    "FertilityCounter",
    "Tokenizer",
    "load_tokenizer",
    "train_byte_level",
    "train_sentencepiece",
    "write_huggingface_tokenizer",
]
