"""Exact and near deduplication of files: MinHash-LSH, verified by true Jaccard (docs/deduplication.md)."""

from megatron_snow.corpus.deduplication.stage import deduplicate

__all__ = ["deduplicate"]
