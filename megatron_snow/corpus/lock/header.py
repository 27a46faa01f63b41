"""What a corpus.lock says before its rows: the shards, how each is written, and by what."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from megatron_snow import __version__
from megatron_snow.common.errors import UserError
from megatron_snow.config import Redaction
from megatron_snow.pipeline import DOCUMENT

VERSION = 1  # of the format; a reader refuses a later one
KEY = b"megatron_snow.corpus_lock"  # of the Parquet file's metadata

# Columns of the lock beside the shards' own; the shards' are all there but `content`.
CONTENT_DIGEST = "lock:content"  # BLAKE2b-128 of the content where `id` is another; null: it is `id`
FILE_SHA256 = "lock:sha256"  # of the content where the shard does not say the file's; null: it is `sha256`
OWN = (CONTENT_DIGEST, FILE_SHA256)


@dataclass(frozen=True)
class ShardLayout:
    """A shard, without its content. Its rows follow those of the shard before."""

    name: str  # of the file
    digest: str  # BLAKE2b-128 of the file; where it is not `exact`, of the Parquet file that restoring writes
    rows_digest: str  # of its rows as they stand in the lock
    row_groups: tuple[int, ...]  # rows of each
    schema: str  # Arrow's IPC form in base64
    exact: bool = True  # False: another program wrote it; the same rows and text are restored, not the same bytes

    @property
    def rows(self) -> int:
        """Documents of the shard."""
        return sum(self.row_groups)

    @property
    def columns(self) -> pa.Schema:
        """The shard's columns."""
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.schema)))

    @staticmethod
    def encode(schema: pa.Schema) -> str:
        """A schema as `schema` holds it."""
        return base64.b64encode(schema.serialize().to_pybytes()).decode()

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ShardLayout:
        """The inverse of `asdict`."""
        return ShardLayout(**{**value, "row_groups": tuple(value["row_groups"])})


@dataclass(frozen=True)
class Header:
    """The metadata of a corpus.lock."""

    shards: tuple[ShardLayout, ...]
    redaction: Mapping[str, Any]  # settings of corpus.redaction that texts may have gone through
    version: int = VERSION
    written_by: str = __version__  # of megatron_snow: what turns a file into text, and the layout
    pyarrow: str = pa.__version__  # of what wrote the shards' bytes

    def to_metadata(self) -> dict[bytes, bytes]:
        """Of the Parquet file."""
        return {KEY: json.dumps(asdict(self)).encode()}


def read_header(path: Path) -> Header:
    """The header of a corpus.lock; UserError where there is none, it is damaged or of a later format."""
    try:
        metadata = pq.read_metadata(path)
    except FileNotFoundError as error:
        raise UserError(f"--lock {path}: no such file; check the path") from error
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"--lock {path}: cannot be read ({str(error).splitlines()[0]}); fetch it again") from error
    if KEY not in (metadata.metadata or {}):
        raise UserError(f"--lock {path}: not a corpus.lock; `megatron-snow lock-corpus` writes one")
    try:
        value = json.loads(metadata.metadata[KEY])
        if value["version"] > VERSION:
            raise UserError(
                f"--lock {path}: format {value['version']}, this reads up to {VERSION}; use megatron_snow {value['written_by']} or later"
            )
        header = Header(**{**value, "shards": tuple(map(ShardLayout.from_json, value["shards"]))})
        _check(header, metadata.num_rows, metadata.schema.to_arrow_schema().names)
    except (ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise UserError(f"--lock {path}: damaged: {str(error) or type(error).__name__}; fetch it again") from error
    return header


def _check(header: Header, rows: int, columns: Sequence[str]) -> None:
    """ValueError for what no lock of ours has. A lock comes from others: it must not name a place outside the output folder."""
    Redaction(**header.redaction)
    for shard in header.shards:
        if not shard.name.endswith(".parquet") or shard.name.startswith(".") or set("/\\\0") & set(shard.name):
            raise ValueError(f"{shard.name!r} is no name of a shard")
        if any(size < 0 for size in shard.row_groups):
            raise ValueError(f"{shard.name} has a row group of {min(shard.row_groups)} rows")
        if missing := {*shard.columns.names, *DOCUMENT.names, *OWN} - {"content", *columns}:
            raise ValueError(f"{shard.name} has columns that the lock lacks: {', '.join(sorted(missing))}")
    if sum(shard.rows for shard in header.shards) != rows:
        raise ValueError(f"{rows:,} rows, where its shards have {sum(shard.rows for shard in header.shards):,}")
