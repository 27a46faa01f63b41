"""Documents that hold text of a benchmark are found, reported and dropped."""

from megatron_snow.corpus.decontamination.search import index_of
from megatron_snow.corpus.decontamination.stage import decontaminate

__all__ = ["decontaminate", "index_of"]
