"""Raw repositories to clean, grouped documents (paper 2.1): start at `stages`, one function a stage.

collect (sources/, encodings, language, licences, collection, selection) -> filter (filters) ->
deduplicate (shingles, signatures, clusters) -> decontaminate (needles, decontamination) -> group
(held_out, grouping). Each reads Parquet shards and writes Parquet shards and a manifest; every
document that is dropped is counted by rule and language.
"""
