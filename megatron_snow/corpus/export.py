"""Shards as JSONL (zstd), for tools that read no Parquet: OUTPUT/jsonl/SHARD.jsonl.zst, a document a line, null and NaN left out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any

import pyarrow as pa

from megatron_snow.common.files import beside
from megatron_snow.common.records import Manifest
from megatron_snow.pipeline import INLINE, Execution, Stage, read_documents, run_stage, shards_in, tasks_by_shard

FOLDER, SUFFIX = "jsonl", ".jsonl.zst"


def export_json_lines(output: Path, execution: Execution = INLINE) -> Manifest:
    """Write the shards of a stage's folder as JSONL beside them."""
    stage = Stage("export", 2, export_shard, {}, (SUFFIX,))
    return run_stage(stage, tasks_by_shard(shards_in(output)), output / FOLDER, execution)


def _plain(value: Any) -> str:
    """What JSON has no type for, and files of others may hold: dates as ISO 8601, bytes as hexadecimal, decimals."""
    if isinstance(value, (date, time)):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


def export_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: a shard's rows as lines."""
    documents = 0
    with pa.CompressedOutputStream(str(beside(prefix, SUFFIX)), "zstd") as file:
        for row in read_documents(inputs[0], piece=parameters.get("piece")):
            known = {name: value for name, value in row.items() if value is not None and value == value}  # NaN is no JSON
            file.write((json.dumps(known, ensure_ascii=False, default=_plain) + "\n").encode())
            documents += 1
    return {"documents": documents}
