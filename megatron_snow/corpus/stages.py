"""The corpus stages as a run calls them, in order. Each takes the corpus settings, input files, an output folder and where
it runs, and returns the manifest of its output; what it prepares for itself lies in the folder's `work/`.
"""

from megatron_snow.corpus.collecting import collect
from megatron_snow.corpus.decontamination import decontaminate
from megatron_snow.corpus.deduplication import deduplicate
from megatron_snow.corpus.filters import filter_documents
from megatron_snow.corpus.grouping import group
from megatron_snow.corpus.redaction import redact

__all__ = ["collect", "decontaminate", "deduplicate", "filter_documents", "group", "redact"]
