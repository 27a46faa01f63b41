"""Pass 6: the documents that stay, with the cluster each stands for; a task a shard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from megatron_snow.common.files import beside
from megatron_snow.corpus.deduplication.signed import SUFFIX, Signed, check_texts
from megatron_snow.corpus.deduplication.units import read_array
from megatron_snow.corpus.outcome import REJECTS, Outcome
from megatron_snow.pipeline import Texts, batches_of, schema_of, texts_of

DUPLICATES = ".duplicates.jsonl"  # every document that was dropped, with its rule and cluster
SUFFIXES = (".parquet", REJECTS, DUPLICATES, SUFFIX)
_FACTS = ("id", "repository", "path")


def keep_survivors(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: a shard's surviving documents with their `cluster_id`, the content digest of the survivor; beside them their Signed file."""
    shard, path, first_path, last_path, digests_path = inputs
    signed, offset = Signed.read(path), parameters["first"]
    numbers = np.arange(offset, offset + signed.facts.shape[1], dtype=np.uint64)
    first = read_array(first_path)[offset : offset + len(numbers)]
    survivors = read_array(last_path)[first]
    digests = read_array(digests_path)
    names, own = _hexadecimal(digests[survivors]), digests[offset : offset + len(numbers)].T
    rules = np.where(first != numbers, "exact_duplicate", np.where(survivors != first, "near_duplicate", ""))
    start = 0
    with Outcome(prefix, _schema(shard), parameters["rejects"]) as outcome, open(beside(prefix, DUPLICATES), "w", encoding="utf-8") as file:
        for batch in batches_of(shard, piece=parameters.get("piece")):
            here = slice(start, start + batch.num_rows)
            start = here.stop
            check_texts(shard, texts_of(batch["content"]), own[:, here])  # a shard that was replaced loses no document
            if "cluster_id" in batch.column_names:
                batch = batch.drop_columns("cluster_id")
            batch = batch.append_column("cluster_id", names[here])
            outcome.add(batch, pa.array(rules[here]))
            _list(batch, rules[here], file)
        check_texts(shard, Texts(np.empty(0, np.uint8), np.zeros(1, np.int64)), own[:, start:])  # nor is one cut short
    signed.kept(rules == "").write(beside(prefix, SUFFIX))
    return outcome.tally


def _schema(shard: Path) -> pa.Schema:
    schema = schema_of(shard)
    if "cluster_id" in schema.names:  # of an earlier deduplication
        schema = schema.remove(schema.get_field_index("cluster_id"))
    return schema.append(pa.field("cluster_id", pa.string()))


def _list(batch: pa.Table, rules: NDArray[np.str_], file: IO[str]) -> None:
    dropped = np.flatnonzero(rules)
    rows = batch.select([*_FACTS, "cluster_id"]).take(dropped).to_pylist()
    for rule, row in zip(rules[dropped].tolist(), rows):
        file.write(json.dumps({"rule": rule, **row}, ensure_ascii=False) + "\n")


def _hexadecimal(digests: NDArray[np.uint64]) -> pa.Array:
    text = digests.astype(">u8").tobytes().hex().encode()
    offsets = np.arange(len(digests) + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(len(digests), pa.py_buffer(offsets), pa.py_buffer(text))
