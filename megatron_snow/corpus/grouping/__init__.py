"""Documents that belong together, next to each other (paper 2.1 and Table 3)."""

from megatron_snow.corpus.grouping.stage import group

__all__ = ["group"]
