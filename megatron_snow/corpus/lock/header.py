"""What a corpus.lock says before its rows: the shards, how each is written, and by what."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from megatron_snow import __version__
from megatron_snow.common.errors import UserError

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
    """The header of a corpus.lock; UserError where there is none or it is of a later format."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"--lock {path}: cannot be read ({str(error).splitlines()[0]}); fetch it again") from error
    if KEY not in metadata:
        raise UserError(f"--lock {path}: not a corpus.lock; `megatron-snow lock-corpus` writes one")
    value = json.loads(metadata[KEY])
    if value["version"] > VERSION:
        raise UserError(
            f"--lock {path}: format {value['version']}, this reads up to {VERSION}; use megatron_snow {value['written_by']} or later"
        )
    return Header(**{**value, "shards": tuple(map(ShardLayout.from_json, value["shards"]))})
