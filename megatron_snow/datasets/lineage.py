"""From a token back to its file, repository, path and licence (DESIGN 7): LANGUAGE.lineage.parquet.

A row a file, in the order of the .bin: `token_start` is the first token of the file there; its last
is the separator before the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.pipeline import read_table

SUFFIX = ".lineage.parquet"
_SCHEMA = pa.schema([
    ("token_start", pa.int64()), ("id", pa.string()), ("repository", pa.string()), ("path", pa.string()), ("licence", pa.string()),
])  # fmt: skip
_BUFFER_ROWS = 16_384


@dataclass(frozen=True)
class Origin:
    """A file in a .bin."""

    token_start: int
    id: str
    repository: str
    path: str
    licence: str


class LineageWriter:
    """Write PREFIX.lineage.parquet a row at a time; a context manager."""

    def __init__(self, prefix: Path) -> None:
        self._writer = pq.ParquetWriter(beside(prefix, SUFFIX), _SCHEMA, compression="zstd")
        self._rows: list[dict[str, object]] = []

    def write(self, origin: Origin) -> None:
        """Add the next file."""
        self._rows.append(vars(origin))
        if len(self._rows) >= _BUFFER_ROWS:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=_SCHEMA))
        self._rows = []

    def __enter__(self) -> LineageWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._flush()
        self._writer.close()


class Lineage:
    """Look up the files of a .bin by token offset."""

    def __init__(self, prefix: Path) -> None:
        self._table = read_table(beside(prefix, SUFFIX))
        if missing := [name for name in _SCHEMA.names if name not in self._table.column_names]:
            raise UserError(f"{beside(prefix, SUFFIX)}: no column {missing[0]!r}; make the dataset again with tools/preprocess_data.py")
        self._starts = self._table["token_start"].to_numpy()

    def __len__(self) -> int:
        return len(self._starts)

    def at(self, token: int) -> Origin:
        """The file that holds a token of the .bin."""
        return self._row(self._number(token))

    def between(self, first_token: int, count: int) -> list[Origin]:
        """The files that `count` tokens from `first_token` on touch, in order."""
        return [self._row(number) for number in range(self._number(first_token), self._number(first_token + count - 1) + 1)]

    def _number(self, token: int) -> int:
        number = int(np.searchsorted(self._starts, token, side="right")) - 1
        if number < 0:
            raise IndexError(f"token {token} lies before the first file")
        return number

    def _row(self, number: int) -> Origin:
        return Origin(**self._table.slice(number, 1).to_pylist()[0])
