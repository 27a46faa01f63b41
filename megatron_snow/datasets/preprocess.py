"""Grouped shards to tokens: one dataset a language, a (language, repository) group is one sequence and one document of it.

The paper's finding rests on grouping (2.1): files of a repository stay neighbours in training. Stored as separate sequences
they would be shuffled apart, so the files of a group are joined, the group ends with <|endoftext|> (`sequences`), and the
borders stay known through the lineage. A task a shard, or a piece of a large one, encodes; one a language joins what they wrote
and decides where sequences end, which no part can know. A shard's column `header`, where it has one, stands before the text
(corpus/grouping/headers.py).
"""

from __future__ import annotations

import re
import shutil
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from megatron_snow.common.errors import UserError
from megatron_snow.common.records import Manifest
from megatron_snow.config import Tokens
from megatron_snow.datasets.index_format import token_dtype
from megatron_snow.datasets.lineage import STARTS, SUFFIX
from megatron_snow.datasets.parts import PART_SUFFIXES, join_parts, tokenize_part
from megatron_snow.datasets.seals import SUFFIX as SEAL
from megatron_snow.datasets.seals import seal, sealed_digest
from megatron_snow.datasets.sequences import NOTHING, Separation
from megatron_snow.datasets.shared_tokenizer import SharedTokenizer
from megatron_snow.pipeline import INLINE, WORK, Execution, Stage, Task, folder_of_ours, run_stage, tasks_by_shard, unfinished
from megatron_snow.pipeline.folders import check_folder
from megatron_snow.tokenizers import END_OF_DOCUMENT, Tokenizer, load_tokenizer

DATASET_SUFFIXES = (".bin", SUFFIX, STARTS, SEAL, ".idx")  # in this order; without an .idx nothing is read
_PARTS = "parts"


def tokenize_shards(
    inputs: Sequence[Path], tokenizer: Tokenizer | Path, output: Path, execution: Execution = INLINE, tokens: Tokens | None = None
) -> Manifest:
    """Write output/LANGUAGE.{bin,idx,lineage.parquet,starts.npy} of shards LANGUAGE-00000.parquet with a `group` column.

    The bytes do not depend on the execution, nor on where shards are cut. Counts: documents, groups, sequences, bytes, tokens
    and tokens:LANGUAGE. UserError for a bad model or a damaged shard. No input gives a manifest without files.
    """
    started = time.monotonic()
    if isinstance(tokenizer, Path):
        tokenizer = load_tokenizer(tokenizer)  # its message comes before any work
    separation = separation_of(tokenizer, tokens or Tokens())
    common = {"tokenizer": tokenizer.digest, "dtype": token_dtype(tokenizer.vocab_size).name, "separation": separation.as_dict()}
    parts = _parts_by_language(inputs)
    stage = Stage("tokenize", 2, _join, common, DATASET_SUFFIXES, sealed_digest)
    tasks = [_joining(language, parts[language]) for language in parts]
    waiting = unfinished(stage, tasks, output)
    if not waiting or execution.explains:
        return run_stage(stage, tasks, output, execution, started)
    check_folder(stage.name, inputs, stage.suffixes, output)  # before an hour of work, not after it
    with folder_of_ours(output):
        encoding = Stage("tokenize: parts", 1, partial(tokenize_part, shared=SharedTokenizer.of(tokenizer)), common, PART_SUFFIXES)
        run_stage(encoding, [part for task in waiting for part in parts[task.name]], output / WORK / _PARTS, execution)
        manifest = run_stage(stage, tasks, output, execution, started)
        shutil.rmtree(output / WORK)  # what is joined need not be there twice
    return manifest


def separation_of(tokenizer: Tokenizer, tokens: Tokens) -> Separation:
    """What a recipe's `tokens` says, in this tokenizer's ids; UserError where it has no such token."""
    if tokens.max_group_tokens < 2:
        raise UserError(f"tokens.max_group_tokens: {tokens.max_group_tokens}, a sequence needs 2 tokens or more")
    separator = NOTHING
    if tokens.file_separator:
        separator = tokenizer.eod if tokens.file_separator == END_OF_DOCUMENT else tokenizer.id_of(tokens.file_separator)
    return Separation(tokenizer.eod, separator, tokens.max_group_tokens)


def _parts_by_language(inputs: Sequence[Path]) -> dict[str, list[Task]]:
    """A task a shard or a piece of one, by language; the largest language first."""
    missing = next((path for path in inputs if not path.is_file()), None)
    if missing is not None:
        raise UserError(f"{missing}: no such shard; run the stage that makes it again")
    languages: dict[str, list[Path]] = defaultdict(list)
    for shard in sorted(inputs, key=lambda path: path.name):
        languages[re.sub(r"-\d+$", "", shard.stem)].append(shard)
    largest_first = sorted(languages, key=lambda language: (-sum(path.stat().st_size for path in languages[language]), language))
    return {language: tasks_by_shard(languages[language]) for language in largest_first}


def _joining(language: str, parts: Sequence[Task]) -> Task:
    """The task that joins a language: it is made from the shards, so that it is known to be done when its parts are gone."""
    shards = tuple(dict.fromkeys(part.inputs[0] for part in parts))
    return Task(language, shards, {"language": language, "parts": [part.name for part in parts]})


def _join(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    folder = prefix.parent / WORK / _PARTS
    counts = join_parts([folder / name for name in parameters["parts"]], prefix, parameters)
    seal(prefix)
    return {**counts, f"tokens:{parameters['language']}": counts["tokens"]}
