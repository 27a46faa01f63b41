"""Files of mirrors to contents of a lock's rows: nothing is taken that does not have the digest of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from megatron_snow.common.checksums import text_digest
from megatron_snow.common.files import beside
from megatron_snow.config import Redaction
from megatron_snow.corpus.collection import read_listing
from megatron_snow.corpus.encodings import converted, decoded
from megatron_snow.corpus.lock.header import read_header
from megatron_snow.corpus.lock.wanted import Wanted, wanted_of
from megatron_snow.corpus.redaction import redact_text
from megatron_snow.corpus.sources import Limits, RawFile, read_part
from megatron_snow.pipeline import ShardWriter

# What a mirror has of a row: its content; its file, which gives another text here; a file of its name alone.
FOUND, OTHER_TEXT, OTHER_FILE = "found", "other_text", "other_file"
FINDS = pa.schema([("row", pa.int64()), ("state", pa.string()), ("place", pa.string()), ("size", pa.int64()), ("text", pa.string())])

_HELD_BYTES = 32_000_000  # of texts before they are sorted and written


def find_in_block(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: one block of parts of sources (inputs: its listing, the lock) to what they have of the lock's rows."""
    limits = Limits(parameters["max_file_bytes"], languages=wanted_of(inputs[1]).languages)
    raw_files = (raw for part in read_listing(inputs[0]) for raw in read_part(part, limits) if not raw.dropped)
    return write_finds(raw_files, inputs[1], prefix)


def write_finds(raw_files: Iterable[RawFile], lock: Path, prefix: Path) -> Mapping[str, int]:
    """PREFIX.parquet with the columns FINDS; rows sorted within what is held, a row group for each shard of the lock."""
    header = read_header(lock)
    starts = np.cumsum([0, *(shard.rows for shard in header.shards)])
    wanted, redaction = wanted_of(lock), Redaction(**header.redaction)
    held: list[dict[str, Any]] = []
    seen, size = 0, 0
    with ShardWriter(beside(prefix, ".parquet"), FINDS) as writer:
        for raw in raw_files:
            seen += 1
            for find in _finds(raw, wanted, redaction):
                held.append(find)
                size += find["size"]
            if size > _HELD_BYTES:
                _write(writer, held, starts)
                held, size = [], 0
        _write(writer, held, starts)
    return {"files": seen}


def _write(writer: ShardWriter, held: list[dict[str, Any]], starts: Any) -> None:
    held.sort(key=lambda find: find["row"])
    for _, finds in groupby(held, key=lambda find: np.searchsorted(starts, find["row"], "right")):
        writer.write_row_group(pa.Table.from_pylist(list(finds), schema=FINDS))


def _finds(raw: RawFile, wanted: Wanted, redaction: Redaction) -> Iterator[dict[str, Any]]:
    data = raw.data if isinstance(raw.data, bytes) else raw.data.encode("utf-8", "surrogatepass")
    rows = wanted.with_file(hashlib.sha256(data).hexdigest())
    text = None if rows else decoded(raw.data)[0]
    same_text = wanted.with_content(text_digest(text)) if text is not None else []  # what was read from a table of decoded texts
    for row in rows or same_text or wanted.with_name(raw.repository, raw.path):
        facts = wanted.facts(row)
        content = content_of(raw.data, facts, redaction) if rows or same_text else None
        state = FOUND if content is not None else OTHER_TEXT if rows else OTHER_FILE
        yield {"row": row, "state": state, "place": raw.provenance, "size": len(content or ""), "text": content}


def content_of(data: bytes | str, facts: Mapping[str, Any], redaction: Redaction) -> str | None:
    """A row's content from the file it was made of, without redaction or with it; None where neither has the row's digest."""
    text = decoded(data)[0]
    code = None if text is None else converted(text, facts["language"])[0]
    if code is None:
        return None
    if text_digest(code) == facts["content"]:
        return code
    redacted = redact_text(code, redaction)[0]
    return redacted if text_digest(redacted) == facts["content"] else None
