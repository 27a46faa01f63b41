"""Tokens on disk and the order in which training reads them.

Start with `indexed` (the files), then `order` (one dataset), `blends` (several), `phase_data` (a phase
of training). `preprocess` makes the files from grouped shards; `lineage` leads from a token back to its
repository.
"""

from megatron_snow.datasets.indexed import IndexedDataset, IndexedWriter, token_dtype
from megatron_snow.datasets.order import rank_rows
from megatron_snow.datasets.phase_data import PhaseData, Source

__all__ = ["IndexedDataset", "IndexedWriter", "PhaseData", "Source", "rank_rows", "token_dtype"]
