"""One shard of a lock, from the lock's rows and what was found for them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.corpus.lock.finding import FOUND
from megatron_snow.corpus.lock.header import OWN, read_header
from megatron_snow.corpus.lock.locking import update_digest
from megatron_snow.pipeline import ShardWriter


def write_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: the shard number `shard` of the lock (first input), its texts from the finds (the others)."""
    lock, finds = inputs[0], inputs[1:]
    header = read_header(lock)
    layout = header.shards[parameters["shard"]]
    start = sum(shard.rows for shard in header.shards[: parameters["shard"]])
    rows = _rows(lock, start, start + layout.rows)
    schema = layout.columns
    digest, written = hashlib.blake2b(digest_size=16), 0
    with ShardWriter(beside(prefix, ".parquet"), schema) as writer:
        for group, size in zip(_starts(layout.row_groups), layout.row_groups):
            locked = rows.slice(group, size)
            own = pa.schema([*(field for field in schema if field.name != "content"), *((name, pa.string()) for name in OWN)])
            update_digest(digest, locked.select(own.names).cast(own))
            texts = _texts(finds, start + group, start + group + size)
            columns = [texts if name == "content" else locked[name] for name in schema.names]
            table = pa.table(columns, names=schema.names).filter(pc.is_valid(texts))
            written += table.num_rows
            writer.write_row_group(table)
    if digest.hexdigest() != layout.rows_digest:
        raise UserError(f"{lock}: damaged: the rows of {layout.name} are not those that were locked; fetch it again")
    return {"documents": layout.rows, "kept": written}


def _starts(sizes: Sequence[int]) -> list[int]:
    return np.cumsum([0, *sizes[:-1]]).tolist()


def _rows(lock: Path, start: int, end: int) -> pa.Table:
    """Rows [start, end) of the lock."""
    with pq.ParquetFile(lock) as file:
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        starts = _starts(sizes)
        groups = [number for number, first in enumerate(starts) if first < end and first + sizes[number] > start]
        if not groups:
            return file.schema_arrow.empty_table()
        return file.read_row_groups(groups).slice(start - starts[groups[0]], end - start)


def _texts(finds: Sequence[Path], start: int, end: int) -> pa.Array:
    """The texts of rows [start, end), null where there is none."""
    texts = np.full(end - start, None, object)
    for row, text in _found(finds, start, end):
        texts[row - start] = text
    return pa.array(texts, pa.string())


def _found(finds: Sequence[Path], start: int, end: int) -> Iterator[tuple[int, str]]:
    for path in finds:
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                known = file.metadata.row_group(number).column(0).statistics
                if known.min < end and known.max >= start:
                    table = file.read_row_group(number, columns=["row", "state", "text"])
                    inside = pc.and_(pc.greater_equal(table["row"], start), pc.less(table["row"], end))
                    chosen = table.filter(pc.and_(inside, pc.equal(table["state"], FOUND)))
                    yield from zip(chosen["row"].to_pylist(), chosen["text"].to_pylist())
