"""A corpus.lock from shards: their rows without the content, and what it takes to write the same bytes again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from megatron_snow.common.checksums import bytes_digest, file_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.explain import before_running
from megatron_snow.common.files import PARTIAL, beside, commit
from megatron_snow.common.records import read_json, write_json
from megatron_snow.config import Redaction
from megatron_snow.corpus.lock.header import CONTENT_DIGEST, FILE_SHA256, OWN, Header, ShardLayout
from megatron_snow.pipeline import DOCUMENT, INLINE, Execution, ShardWriter, Stage, Task, batches_of, run_stage, texts_of

_LAYOUT = ".json"
_LEVEL = 9  # of zstd: a lock is written once, kept and sent; 3 is 6 % larger


def lock_corpus(inputs: Sequence[Path], output: Path, redaction: Redaction, execution: Execution = INLINE) -> Header:
    """Write the lock of `inputs` to the file `output`; the header.

    `redaction` are the settings that the corpus may have gone through: restoring tries a text without, then with them.
    Until the file is there, OUTPUT.work/ holds what is done of it. UserError for shards of one name, columns that clash, and
    an output that is a folder.
    """
    if output.is_dir():
        raise UserError(f"--output {output}: is a folder; give the name of a file, for example {output / 'corpus.lock'}")
    work = beside(output, ".work")
    run_stage(Stage("lock", 1, lock_shard, suffixes=(".parquet", _LAYOUT)), _tasks(inputs), work, execution)
    names = [task.name for task in _tasks(inputs)]
    layouts = tuple(ShardLayout.from_json(read_json(work / f"{name}{_LAYOUT}")) for name in names)
    header = Header(layouts, asdict(redaction))
    before_running("lock", output, f"{work} is complete and not yet joined")
    _join([work / f"{name}.parquet" for name in names], output, header)
    shutil.rmtree(work)
    return header


def _tasks(inputs: Sequence[Path]) -> list[Task]:
    return [Task(path.name.partition(".parquet")[0].partition(".jsonl")[0], (path,)) for path in inputs]


def lock_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: a shard's rows without the content, and its layout, found to give the shard's own bytes or not."""
    shard = inputs[0]
    schema, tables = _read(shard)
    if clash := set(OWN) & set(schema.names):
        raise UserError(f"{shard}: column {min(clash)!r} is one of a lock's own; rename it or take it out")
    without = pa.schema([*(field for field in schema if field.name != "content"), *((name, pa.string()) for name in OWN)])
    again, digest, groups = _HashingFile(), hashlib.blake2b(digest_size=16), []
    with ShardWriter(cast(Any, again), schema) as writer, ShardWriter(beside(prefix, ".parquet"), without) as rows:
        for table in tables:
            writer.write_row_group(table)
            locked = _locked(table, without)
            rows.write_table(locked)
            update_digest(digest, locked)
            groups.append(table.num_rows)
    exact = again.digest() == file_digest(shard)
    layout = ShardLayout(_name(shard), again.digest(), digest.hexdigest(), tuple(groups), ShardLayout.encode(schema), exact)
    write_json(beside(prefix, _LAYOUT), asdict(layout))
    return {"documents": layout.rows, "exact_shards": int(exact)}


def update_digest(digest: Any, rows: pa.Table) -> None:
    """Take rows of a lock into a digest: of values alone, as Arrow's own forms leave bytes of nulls and padding open."""
    for name in rows.column_names:
        column = rows[name].combine_chunks()
        digest.update(column.is_valid().to_numpy(zero_copy_only=False).tobytes())
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            texts = texts_of(column)
            digest.update(np.diff(texts.offsets).tobytes())
            digest.update(texts.data[texts.offsets[0] : texts.offsets[-1]].tobytes())
        else:
            digest.update(json.dumps(column.to_pylist(), default=str).encode())


def _name(shard: Path) -> str:
    return shard.name if shard.name.endswith(".parquet") else f"{shard.name.partition('.jsonl')[0]}.parquet"


def _read(shard: Path) -> tuple[pa.Schema, Iterator[pa.Table]]:
    """(columns, a table a row group): of a shard of ours as it lies there, of other files as documents."""
    if shard.suffix == ".parquet":
        file = pq.ParquetFile(shard)
        if set(DOCUMENT.names) <= set(file.schema_arrow.names):
            return file.schema_arrow, (file.read_row_group(number) for number in range(file.num_row_groups))
    tables = list(batches_of(shard))
    return (tables[0].schema if tables else DOCUMENT), iter(tables)


def _locked(table: pa.Table, schema: pa.Schema) -> pa.Table:
    contents = table["content"].to_pylist()
    texts = [(text or "").encode() for text in contents]
    digests = pa.array(map(bytes_digest, texts), pa.string())
    said = pc.fill_null(pc.match_substring_regex(table["sha256"].combine_chunks(), "^[0-9a-f]{64}$"), False)
    hashes = pa.array((None if known else hashlib.sha256(text).hexdigest() for known, text in zip(said.to_pylist(), texts)), pa.string())
    differs = pc.fill_null(pc.not_equal(table["id"].combine_chunks(), digests), True)
    own = {CONTENT_DIGEST: pc.if_else(differs, digests, None), FILE_SHA256: hashes}
    return pa.table([own.get(name) if name in own else table[name] for name in schema.names], schema=schema)


def _join(parts: Sequence[Path], output: Path, header: Header) -> None:
    try:
        schema = pa.unify_schemas([pq.read_schema(part) for part in parts])
    except pa.ArrowException as error:
        raise UserError(f"--input: shards with one column of several types ({error}); lock them apart") from error
    schema = schema.with_metadata(header.to_metadata())
    temporary = beside(output, PARTIAL)
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd", compression_level=_LEVEL) as writer:
            for part in parts:
                for batch in pq.ParquetFile(part).iter_batches():
                    table = pa.Table.from_batches([batch])
                    columns = [table[f.name] if f.name in table.column_names else pa.nulls(len(table), f.type) for f in schema]
                    writer.write_table(pa.table(columns, schema=schema))
        commit(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)


class _HashingFile:
    """Takes what a Parquet writer writes, and keeps its digest alone."""

    closed = False

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)
        self._position = 0

    def write(self, data: Any) -> int:
        size = len(data)
        self._digest.update(data)
        self._position += size
        return size

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def digest(self) -> str:
        return self._digest.hexdigest()
