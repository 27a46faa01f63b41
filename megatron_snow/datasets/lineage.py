"""From a token back to its file, repository, path and licence, and from these to tokens (DESIGN 7).

    PREFIX.lineage.parquet    a row a file, in the order of the .bin, in row groups of 16,384
    PREFIX.starts.npy         int64[files]: the first token of each file, for a search without reading the table

A file's last token is the one before the next file's first: the separator or the end of its sequence. Memory holds a few row
groups, whatever the number of files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.datasets.seals import check_companion

SUFFIX = ".lineage.parquet"
STARTS = ".starts.npy"
# Of the grouped shards; missing ones are "".
TEXTS = ("id", "repository", "path", "language", "licence", "swhid", "sha256")
LINEAGE = pa.schema([
    ("token_start", pa.int64()),
    ("tokens", pa.int64()),       # of the file, without what separates it from the next
    ("group", pa.int64()),        # number of its (language, repository) group in the dataset
    *((name, pa.string()) for name in TEXTS),
    ("size", pa.int64()),         # bytes of its text
    ("name_tokens", pa.int32()),  # of "<repo_name>NAME<file_sep>" before its text
])  # fmt: skip
_ROWS = 16_384  # a row group: 3 ms to read
_KEPT = 8  # row groups in memory
_METADATA = b"megatron_snow"
_REMEDY = "make the dataset again with tools/preprocess_data.py"


@dataclass(frozen=True)
class Origin:
    """A file in a .bin."""

    token_start: int
    id: str
    repository: str
    path: str
    licence: str
    language: str = ""
    swhid: str = ""
    sha256: str = ""
    tokens: int = 0
    size: int = 0
    group: int = 0


class LineageWriter:
    """Write a lineage table by table, in row groups that do not depend on how they came; a context manager."""

    def __init__(self, path: Path, schema: pa.Schema = LINEAGE) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)
        self._schema, self._rows = schema, schema.empty_table()

    def write(self, rows: pa.Table) -> None:
        """Add the next files."""
        self._rows = pa.concat_tables([self._rows, rows.select(self._schema.names).cast(self._schema)])
        while len(self._rows) >= _ROWS:
            self._flush(_ROWS)

    def describe(self, values: Mapping[str, Any]) -> None:
        """What holds of the whole dataset."""
        self._writer.add_key_value_metadata({_METADATA: json.dumps(values, sort_keys=True).encode()})

    def _flush(self, count: int) -> None:
        self._writer.write_table(self._rows.slice(0, count).combine_chunks(), row_group_size=_ROWS)
        self._rows = self._rows.slice(count)

    def __enter__(self) -> LineageWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and len(self._rows):
            self._flush(len(self._rows))
        self._writer.close()


class Lineage:
    """Look up the files of PREFIX.bin; UserError where there is no lineage or it is of other tokens."""

    def __init__(self, prefix: Path) -> None:
        self.prefix, path = prefix, beside(prefix, SUFFIX)
        if not path.is_file():
            raise UserError(f"{path}: no such file; datasets of grouped shards have a lineage (preprocess-data --group-by), others none")
        self._file = _open(path)
        if missing := [name for name in LINEAGE.names if name not in self._file.schema_arrow.names]:
            raise UserError(f"{path}: no column {missing[0]!r}; {_REMEDY}")
        self.description = _description(self._file, path)
        self._starts = _open_starts(beside(prefix, STARTS), self._file.metadata.num_rows, self.num_tokens)
        check_companion(prefix, STARTS)
        sizes = [self._file.metadata.row_group(number).num_rows for number in range(self._file.num_row_groups)]
        self._row_starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._groups: dict[int, pa.Table] = {}
        _check_tokens(prefix, self.num_tokens * int(self.description["token_bytes"]))

    @property
    def num_tokens(self) -> int:
        """Tokens of the dataset."""
        return int(self.description["tokens"])

    def __len__(self) -> int:
        return len(self._starts)

    def at(self, token: int) -> Origin:
        """The file that holds a token of the .bin; IndexError where there is no such token."""
        return self.origin(self.number_of(token))

    def between(self, first_token: int, count: int) -> list[Origin]:
        """The files that `count` tokens from `first_token` on touch, in order."""
        if count < 1:
            return []
        return [self.origin(number) for number in range(self.number_of(first_token), self.number_of(first_token + count - 1) + 1)]

    def number_of(self, token: int) -> int:
        """The row of the file that holds a token."""
        if not 0 <= token < self.num_tokens:
            raise IndexError(f"{self.prefix}: token {token} of {self.num_tokens}")
        return int(np.searchsorted(self._starts, token, side="right")) - 1

    def extent(self, number: int) -> tuple[int, int]:
        """The tokens [first, last + 1) of a row's file, with the separator or end that follows it."""
        return int(self._starts[number]), int(self._starts[number + 1]) if number + 1 < len(self) else self.num_tokens

    def origin(self, number: int) -> Origin:
        """The file of a row."""
        group = int(np.searchsorted(self._row_starts, number, side="right")) - 1
        row = self._row_group(group).slice(number - int(self._row_starts[group]), 1).to_pylist()[0]
        return Origin(**{name: row[name] for name in Origin.__dataclass_fields__})

    def rows(self, numbers: NDArray[np.int64]) -> pa.Table:
        """The rows of these numbers (ascending), a row group read at a time."""
        groups = np.searchsorted(self._row_starts, numbers, side="right") - 1
        inside = numbers - self._row_starts[groups]
        tables = [self._row_group(group).take(pa.array(inside[groups == group])) for group in np.unique(groups).tolist()]
        return pa.concat_tables([LINEAGE.empty_table(), *tables])

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
        """(number of its first row, rows) of each row group, one in memory at a time."""
        for group, first in enumerate(self._row_starts[:-1].tolist()):
            yield first, self._read(group, columns or LINEAGE.names)

    def starts(self, first: int, count: int) -> NDArray[np.int64]:
        """The first tokens of rows from `first` on."""
        return np.asarray(self._starts[first : first + count], np.int64)

    def _read(self, group: int, columns: Sequence[str]) -> pa.Table:
        try:
            return self._file.read_row_group(group, columns=list(columns))
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{beside(self.prefix, SUFFIX)}: damaged ({str(error).splitlines()[0]}); {_REMEDY}") from error

    def _row_group(self, number: int) -> pa.Table:
        if number not in self._groups:
            if len(self._groups) >= _KEPT:
                del self._groups[next(iter(self._groups))]
            self._groups[number] = self._read(number, LINEAGE.names)
        return self._groups[number]


def texts_of_lineage(table: pa.Table) -> list[pa.Array | pa.ChunkedArray]:
    """The columns TEXTS of documents, a missing one as ""."""
    return [pc.fill_null(table[name].cast(pa.string()), "") for name in TEXTS]


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged ({str(error).splitlines()[0]}); {_REMEDY}") from error


def _description(file: pq.ParquetFile, path: Path) -> dict[str, Any]:
    found = (file.metadata.metadata or {}).get(_METADATA)
    if found is None:
        raise UserError(f"{path}: does not say of which tokens it is (an older version wrote it); {_REMEDY}")
    return dict(json.loads(found))


def _open_starts(path: Path, rows: int, tokens: int) -> NDArray[np.int64]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; {_REMEDY}")
    try:
        starts = np.asarray(np.load(path, mmap_mode="r"))
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path}: not an array of NumPy ({error}); {_REMEDY}") from error
    if starts.dtype != np.int64 or starts.shape != (rows,) or (rows and not 0 <= starts[0] <= starts[-1] <= tokens):
        raise UserError(f"{path}: {starts.dtype}{list(starts.shape)} where the lineage has {rows} files of {tokens} tokens; {_REMEDY}")
    return starts


def _check_tokens(prefix: Path, expected: int) -> None:
    path = beside(prefix, ".bin")
    if path.is_file() and path.stat().st_size != expected:
        raise UserError(
            f"{beside(prefix, SUFFIX)}: of a .bin of {expected:,} bytes, {path.name} has {path.stat().st_size:,}; "
            f"they do not belong together, {_REMEDY}"
        )
