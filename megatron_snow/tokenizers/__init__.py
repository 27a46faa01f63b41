"""SentencePiece BPE for code: byte fallback, single digits, whitespace and newlines kept exactly.

`training` makes a model, `tokenizer` reads one, `export` writes what transformers needs to give the
same ids.
"""

from megatron_snow.tokenizers.export import write_huggingface_tokenizer
from megatron_snow.tokenizers.tokenizer import SentencePieceTokenizer
from megatron_snow.tokenizers.training import END_OF_DOCUMENT, FILE_SEPARATOR, SPECIAL_TOKENS, train_sentencepiece

__all__ = [
    "END_OF_DOCUMENT",
    "FILE_SEPARATOR",
    "SPECIAL_TOKENS",
    "SentencePieceTokenizer",
    "train_sentencepiece",
    "write_huggingface_tokenizer",
]
