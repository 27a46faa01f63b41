"""What is not worth training on: profiles of rules over statistics of the text."""

from megatron_snow.corpus.filters.stage import filter_documents

__all__ = ["filter_documents"]
