"""Texts to one indexed dataset a key, as Megatron-LM's tools/preprocess_data.py: a document is a sequence, in the order of the input.

Pieces of files become parts in PREFIX.parts, side by side on any executor; the parts are joined by the kernel, sealed and
given their final names, and PREFIX.record.json says what they were made from. A run that was killed anywhere goes on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from megatron_snow.common.checksums import value_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.explain import before_running
from megatron_snow.common.files import beside, commit
from megatron_snow.common.records import read_json, write_json
from megatron_snow.datasets import seals
from megatron_snow.datasets.index_format import token_dtype
from megatron_snow.datasets.shared_tokenizer import SharedTokenizer
from megatron_snow.datasets.text_columns import pieces_of_texts
from megatron_snow.datasets.text_tokens import dataset_name, tokenize_piece
from megatron_snow.datasets.writing import join_datasets
from megatron_snow.pipeline import INLINE, RECORD, Execution, Stage, Task, folder_of_ours, run_stage
from megatron_snow.tokenizers import Tokenizer, load_tokenizer

PARTS = ".parts"  # of PREFIX.parts, the folder of what is not finished
_PLAN = "join.json"  # there when all parts are, with the key of what they are parts of
_WORTH = 500_000  # bytes of a file, mostly compressed: a process takes 1 CPU s to start, 2 MB of text as long to encode
_VERSION = 1  # raised when the same input should give other tokens


def tokenize_texts(
    inputs: Sequence[Path],
    tokenizer: Tokenizer | Path,
    prefix: Path,
    *,
    keys: Sequence[str] = ("text",),
    append_eod: bool = False,
    execution: Execution = INLINE,
) -> Mapping[str, int]:
    """Write PREFIX_KEY_document.{bin,idx,seal.json} for each key. Counts: documents, bytes of text, tokens.

    The bytes are those of Megatron-LM's tool for the same ids (an empty text is a document without a
    sequence and gets no end-of-document), whatever the executor, the number of workers and the kills before. Inputs are
    known by path, size and time of change. The disk holds the output and one part more. UserError for damaged input.
    """
    _check_keys(keys)
    if isinstance(tokenizer, Path):
        tokenizer = load_tokenizer(tokenizer)
    tasks = _tasks(inputs)
    parameters = {
        "keys": list(keys),
        "dtype": token_dtype(tokenizer.vocab_size).name,
        "eod": tokenizer.eod if append_eod else None,
        "tokenizer": tokenizer.digest,
    }
    stage = Stage(
        "tokenize texts",
        _VERSION,
        partial(tokenize_piece, shared=SharedTokenizer.of(tokenizer), helpers=_helpers(tasks, execution)),
        parameters,
        tuple(dataset_name("", key) + suffix for key in keys for suffix in (".bin", ".idx")),
        digest=_undigested,
    )
    return _finished(prefix, stage, tasks) or _make(prefix, stage, tasks, execution)


def _helpers(tasks: Sequence[Task], execution: Execution) -> int:
    """Processes that encode for each task, where there are less tasks than workers; none is started for less than _WORTH bytes."""
    largest = max((task.size for task in tasks), default=0)
    return min(execution.workers // max(1, len(tasks)), largest // _WORTH)


def _check_keys(keys: Sequence[str]) -> None:
    for key in keys:
        if list(keys).count(key) > 1 or "/" in key or not key:
            raise UserError(f"--json-keys {' '.join(keys)}: each is part of a file's name; give each once, without '/'")


def _tasks(inputs: Sequence[Path]) -> list[Task]:
    """A task a piece. Inputs are not digested (1 GB/s on one core, where encoders on many are faster), so they are no task's `inputs`."""
    tasks: list[Task] = []
    for path in inputs:
        if not path.is_file():
            raise UserError(f"{path}: no such file; check --input")
        pieces = pieces_of_texts(path)
        size, modified = path.stat().st_size, path.stat().st_mtime_ns
        for piece in pieces:
            what = {"path": str(path), "size": size, "modified": modified, "piece": piece}
            tasks.append(Task(f"part-{len(tasks):06d}", (), what, max(1, size // len(pieces))))
    return tasks


def _undigested(path: Path) -> str:
    """Parts live until they are joined; what is kept is sealed."""
    return ""


def _key(stage: Stage, tasks: Sequence[Task]) -> str:
    return value_digest([stage.name, stage.version, stage.parameters, [task.parameters for task in tasks]])


def _datasets(prefix: Path, stage: Stage) -> list[Path]:
    return [prefix.with_name(dataset_name(prefix.name, key)) for key in stage.parameters["keys"]]


def _finished(prefix: Path, stage: Stage, tasks: Sequence[Task]) -> Mapping[str, int] | None:
    """The counts of an earlier run, where its record has this key and its files the sizes that stand there."""
    record = beside(prefix, RECORD)
    if not record.is_file():
        return None
    known: Mapping[str, Any] = read_json(record)
    files = {record.with_name(name): size for name, size in known.get("files", {}).items()}
    if known.get("key") != _key(stage, tasks) or not all(path.is_file() and path.stat().st_size == size for path, size in files.items()):
        return None
    shutil.rmtree(beside(prefix, PARTS), ignore_errors=True)  # a kill after the record
    return dict(known["counts"])


def _make(prefix: Path, stage: Stage, tasks: Sequence[Task], execution: Execution) -> Mapping[str, int]:
    parts, key = beside(prefix, PARTS), _key(stage, tasks)
    plan = parts / _PLAN
    known = read_json(plan) if plan.is_file() else {}
    if known.get("key") != key and execution.explains:
        return run_stage(stage, tasks, parts, execution).counts  # says what would run
    before_running("joining the parts", prefix)
    with folder_of_ours(parts):
        if known.get("key") != key:
            plan.unlink(missing_ok=True)
            known = {"key": key, "counts": dict(run_stage(stage, tasks, parts, execution).counts)}
            write_json(plan, known)
        for dataset in _datasets(prefix, stage):
            _join(parts, [task.name for task in tasks], dataset, prefix.name, execution.workers)
        _write_record(prefix, stage, tasks, known["counts"])
        shutil.rmtree(parts)
    return dict(known["counts"])


def _join(parts: Path, names: Sequence[str], dataset: Path, prefix_name: str, workers: int) -> None:
    """Parts to the dataset under its final name; called again after a kill it goes on."""
    suffix = dataset.name.removeprefix(prefix_name)
    prefixes, joined = [parts / f"{name}{suffix}" for name in names], parts / f"joined{suffix}"
    if not any(beside(path, ".idx").exists() for path in (joined, *prefixes)):
        return  # the .idx is what moves last
    join_datasets(prefixes, joined)
    if beside(joined, ".bin").exists():
        beside(dataset, ".idx").unlink(missing_ok=True)  # never an old index beside new tokens
        seals.seal(joined, workers)
    for ending in (seals.SUFFIX, ".bin", ".idx"):
        if beside(joined, ending).exists():
            commit(beside(joined, ending), beside(dataset, ending))


def _write_record(prefix: Path, stage: Stage, tasks: Sequence[Task], counts: Mapping[str, int]) -> None:
    files = [beside(dataset, suffix) for dataset in _datasets(prefix, stage) for suffix in (".bin", ".idx")]
    inputs = {task.parameters["path"]: task.parameters["size"] for task in tasks}
    record = {
        "key": _key(stage, tasks),
        "made_from": {"stage": stage.name, "version": stage.version, **stage.parameters, "inputs": inputs},
        "files": {file.name: os.stat(file).st_size for file in files},
        "counts": dict(counts),
    }
    made = beside(prefix, PARTS) / "finished.json"  # a kill leaves nothing beside the datasets
    write_json(made, record)
    commit(made, beside(prefix, RECORD))
