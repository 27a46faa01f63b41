"""Grouped shards to tokens: one dataset a language, a (language, repository) group is one document of it.

The paper's finding rests on grouping (2.1): files of a repository stay neighbours in training. Stored as
separate documents they would be shuffled apart, so the files of a group are joined by <file_sep>, the
group ends with <|endoftext|>, and the borders stay known through the lineage.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_snow.common.errors import UserError
from megatron_snow.common.records import Manifest
from megatron_snow.datasets.indexed import IndexedWriter, token_dtype
from megatron_snow.datasets.lineage import SUFFIX, LineageWriter, Origin
from megatron_snow.pipeline import Execution, Stage, Task, read_documents, run_stage
from megatron_snow.tokenizers import SentencePieceTokenizer

_COLUMNS = ("id", "repository", "path", "licence", "size", "content", "group")


def tokenize_shards(inputs: Sequence[Path], tokenizer_model: Path, output: Path, workers: int) -> Manifest:
    """Write output/LANGUAGE.{bin,idx,lineage.parquet} of shards named LANGUAGE-00000.parquet with a `group` column.

    One task a language, the largest first, on `workers` processes. Counts: documents, groups, bytes,
    tokens, and tokens:LANGUAGE. UserError for a bad model or a damaged shard. No input gives a
    manifest without files.
    """
    SentencePieceTokenizer.load(tokenizer_model)  # its message comes before any work
    languages: dict[str, list[Path]] = defaultdict(list)
    for shard in sorted(inputs, key=lambda path: path.name):
        languages[re.sub(r"-\d+$", "", shard.stem)].append(shard)
    largest_first = sorted(languages, key=lambda language: (-sum(map(_size, languages[language])), language))
    tasks = [Task(language, (tokenizer_model, *languages[language]), {"language": language}) for language in largest_first]
    stage = Stage("tokenize", 1, _tokenize_language, suffixes=(".bin", ".idx", SUFFIX))
    return run_stage(stage, tasks, output, Execution("pool", min(workers, max(1, len(tasks)))))


def _size(path: Path) -> int:
    if not path.is_file():
        raise UserError(f"{path}: no such shard; run the stage that makes it again")
    return path.stat().st_size


def _tokenize_language(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    tokenizer = SentencePieceTokenizer.load(inputs[0])
    counts = {"documents": 0, "groups": 0, "bytes": 0}
    current: str | None = None
    with IndexedWriter(prefix, token_dtype(tokenizer.vocab_size)) as writer, LineageWriter(prefix) as lineage:
        for document in _documents(inputs[1:]):
            if current is not None:
                ends_group = document["group"] != current
                writer.append([tokenizer.eod if ends_group else tokenizer.file_separator])
                if ends_group:
                    writer.end_document()
            counts["groups"] += document["group"] != current
            current = document["group"]
            lineage.write(Origin(writer.num_tokens, document["id"], document["repository"], document["path"], document["licence"]))
            writer.append(tokenizer.encode_array(document["content"]))
            counts["documents"] += 1
            counts["bytes"] += document["size"]
        if current is not None:
            writer.append([tokenizer.eod])
        return {**counts, "tokens": writer.num_tokens, f"tokens:{parameters['language']}": writer.num_tokens}


def _documents(shards: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for shard in shards:
        yield from read_documents(shard, _COLUMNS)
