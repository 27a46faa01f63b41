"""Tokens on disk and the order in which training reads them.

Start with `indexed` and `writing` (the files), then `order` (one dataset), `blends` (several), `phase_data` (a phase
of training). `preprocess` makes the files from grouped shards, `preprocess_texts` from plain texts;
`tokenizer_sample` trains a tokenizer, `tokenizer_comparison` compares several; `lineage` leads from a token back to its repository,
`uses` from a token to the samples that read it, `takedown` writes datasets without some documents.
"""

from megatron_snow.datasets.batch_text import BatchPrinter
from megatron_snow.datasets.index_format import token_dtype
from megatron_snow.datasets.indexed import IndexedDataset
from megatron_snow.datasets.lineage import Lineage, Origin
from megatron_snow.datasets.order import rank_rows
from megatron_snow.datasets.phase_data import PhaseData, Source
from megatron_snow.datasets.preprocess import tokenize_shards
from megatron_snow.datasets.preprocess_texts import tokenize_texts
from megatron_snow.datasets.tokenizer_comparison import compare_tokenizers
from megatron_snow.datasets.tokenizer_sample import train_on_sample, train_tokenizer
from megatron_snow.datasets.writing import IndexedWriter, join_datasets

__all__ = [
    "BatchPrinter",
    "IndexedDataset",
    "IndexedWriter",
    "Lineage",
    "Origin",
    "PhaseData",
    "Source",
    "compare_tokenizers",
    "join_datasets",
    "rank_rows",
    "token_dtype",
    "tokenize_shards",
    "tokenize_texts",
    "train_on_sample",
    "train_tokenizer",
]
