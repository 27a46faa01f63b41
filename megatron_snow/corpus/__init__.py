"""Raw repositories to clean, grouped documents (paper 2.1): start at `stages`, one function a stage.

collect (sources/, encodings, language, licences, collection, selection) -> filter_documents (filters) ->
deduplicate (shingles, deduplication/) -> decontaminate (needles, decontamination) -> group
(held_out, grouping). Each reads Parquet shards and writes Parquet shards and a manifest; every
document that is dropped is counted by rule and language.
"""

from megatron_snow.corpus.decontamination import index_of
from megatron_snow.corpus.stages import collect, decontaminate, deduplicate, filter_documents, group

__all__ = ["collect", "decontaminate", "deduplicate", "filter_documents", "group", "index_of"]
