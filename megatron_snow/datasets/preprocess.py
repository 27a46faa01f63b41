"""Grouped shards to tokens: one dataset a language, a (language, repository) group is one document of it.

The paper's finding rests on grouping (2.1): files of a repository stay neighbours in training. Stored as
separate documents they would be shuffled apart, so the files of a group are joined by <file_sep>, the
group ends with <|endoftext|>, and the borders stay known through the lineage. A shard's column `header`, where it has one,
stands before the text (corpus/grouping/headers.py); <repo_name> and <file_sep> in it become the special tokens.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from megatron_snow.common.errors import UserError
from megatron_snow.common.records import Manifest
from megatron_snow.datasets.index_format import token_dtype
from megatron_snow.datasets.lineage import SUFFIX, LineageWriter, Origin
from megatron_snow.datasets.writing import IndexedWriter
from megatron_snow.pipeline import Execution, Stage, Task, read_documents, run_stage, schema_of
from megatron_snow.tokenizers import FILE_SEPARATOR, SentencePieceTokenizer

_COLUMNS = ("id", "repository", "path", "licence", "size", "content", "group")
_HEADER, _REPOSITORY_NAME = "header", "<repo_name>"


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
            for ids in _tokens(document.get(_HEADER) or "", document["content"], tokenizer):
                writer.append(ids)
            counts["documents"] += 1
            counts["bytes"] += document["size"]
        if current is not None:
            writer.append([tokenizer.eod])
        return {**counts, "tokens": writer.num_tokens, f"tokens:{parameters['language']}": writer.num_tokens}


def _tokens(header: str, content: str, tokenizer: SentencePieceTokenizer) -> Iterator[Sequence[int] | np.ndarray]:
    """Ids of header and content: "<repo_name>NAME<file_sep>PATH\\n" or "PATH\\n". Text cannot spell a special token, so they are put in."""
    if header.startswith(_REPOSITORY_NAME):
        name, _, header = header.removeprefix(_REPOSITORY_NAME).partition(FILE_SEPARATOR)
        yield [tokenizer.id_of(_REPOSITORY_NAME)]
        yield tokenizer.encode_array(name)
        yield [tokenizer.file_separator]
    yield tokenizer.encode_array(header + content)


def _documents(shards: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for shard in shards:
        header = (_HEADER,) if _HEADER in schema_of(shard).names else ()  # shards of others, or of an earlier version, have none
        yield from read_documents(shard, (*_COLUMNS, *header))
