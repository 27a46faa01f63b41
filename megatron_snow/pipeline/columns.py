"""The columns of a document, whatever a file calls them, and text as bytes and offsets for compiled loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from megatron_snow.common.checksums import text_digest
from megatron_snow.common.errors import UserError

# Stages may add columns (cluster_id, group, score, ...); these are always there. Text that is not known is "" or null.
DOCUMENT = pa.schema([
    ("id", pa.string()),            # BLAKE2b-128 of the content, hexadecimal
    ("repository", pa.string()),    # "python:numpy", "debian:libc6-dev", "owner/name"
    ("path", pa.string()),          # inside the repository, with forward slashes
    ("language", pa.string()),      # linguist's name: "Python", "C++"
    ("role", pa.string()),          # code, test, documentation, configuration or build
    ("licence", pa.string()),       # SPDX expression or what the source says
    ("licence_kind", pa.string()),  # permissive, copyleft, unlicensed or unknown
    ("stars", pa.int64()),          # of the repository
    ("forks", pa.int64()),
    ("date", pa.string()),          # of the commit or release, ISO 8601
    ("revision", pa.string()),      # commit, or version of a package
    ("swhid", pa.string()),         # Software Heritage's name of the file's bytes: "swh:1:cnt:<git blob sha1>"
    ("sha256", pa.string()),        # of the file's bytes
    ("size", pa.int64()),           # bytes of the content in UTF-8
    ("provenance", pa.string()),    # where it was read: a path, an archive member, a prompt's key
    ("content", pa.string()),
])  # fmt: skip

# What others call these columns: The Stack v1 and v2, StarCoderData, datatrove, dolma.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "content": ("content", "text", "code"),
    "repository": ("repository", "max_stars_repo_name", "repo_name", "repo"),
    "path": ("path", "max_stars_repo_path", "file_path"),
    "language": ("language", "lang"),
    "licence": ("licence", "max_stars_repo_licenses", "detected_licenses", "license", "licenses"),
    "stars": ("stars", "max_stars_count", "star_events_count"),
    "forks": ("forks", "max_forks_count", "fork_events_count"),
    "date": ("date", "committer_date", "revision_date", "max_stars_repo_stars_event_max_datetime"),
    "revision": ("revision", "revision_id", "max_stars_repo_head_hexsha"),
}


def source_of(column: str, names: Sequence[str]) -> str | None:
    """The name under which a file has a column of DOCUMENT, or None."""
    return next((name for name in ALIASES.get(column, (column,)) if name in names), None)


def names_for(names: Sequence[str], columns: Sequence[str] | None, path: Path) -> list[str] | None:
    """The columns of a file of documents that are to be read so that `conform` can give `columns`; None: all."""
    if columns is None:
        return None
    require([column for column in columns if column not in DOCUMENT.names], names, path)
    wanted = {source_of(column, names) for column in columns}
    if {"id", "size"} & {column for column in columns if source_of(column, names) is None}:
        wanted.add(source_of("content", names))  # they are computed from it
    return [name for name in names if name in wanted]


def conform(table: pa.Table, columns: Sequence[str] | None, path: Path) -> pa.Table:
    """The table with the columns of DOCUMENT by their names and types, then any others; `columns` alone where given.

    A missing id or size is computed, other missing columns of DOCUMENT are null; UserError for any other that is missing.
    """
    present = table.column_names
    others = [name for name in present if name not in DOCUMENT.names and all(name not in known for known in ALIASES.values())]
    arrays = [_column(name, table, path) for name in (columns or [*DOCUMENT.names, *others])]
    return pa.table(arrays, names=list(columns or [*DOCUMENT.names, *others]))


def holds_documents(names: Sequence[str]) -> bool:
    """Whether a file with these columns has text; what stages keep for themselves has none and is read as it is."""
    return source_of("content", names) is not None


def require(columns: Sequence[str], names: Sequence[str], path: Path) -> None:
    """UserError that names the first of the columns that a file lacks."""
    for column in columns:
        if column not in names:
            raise UserError(f"{path}: no column {column!r}; it has {', '.join(names)}")


def _column(name: str, table: pa.Table, path: Path) -> pa.ChunkedArray:
    source = source_of(name, table.column_names)
    if source is not None:
        return _cast(table[source], name, path) if name in DOCUMENT.names else table[source]
    if name in _COMPUTED:
        return pa.chunked_array([_COMPUTED[name](_column("content", table, path))])
    require([name] if name not in DOCUMENT.names else [], table.column_names, path)
    return pa.chunked_array([pa.nulls(table.num_rows, DOCUMENT.field(name).type)])


def _cast(column: pa.ChunkedArray, name: str, path: Path) -> pa.ChunkedArray:
    kind = DOCUMENT.field(name).type
    if pa.types.is_list(column.type):  # The Stack: a list of licences
        column = pc.list_element(pc.if_else(pc.greater(pc.list_value_length(column), 0), column, None), 0)
    try:
        return column if column.type == kind else column.cast(kind)
    except pa.ArrowException as error:
        raise UserError(f"{path}: column {name!r} is {column.type}, not {kind}; change it or take it out") from error


_COMPUTED: Mapping[str, Callable[[pa.ChunkedArray], pa.Array]] = {
    "id": lambda content: pa.array((text_digest(text or "") for text in content.to_pylist()), pa.string()),
    "size": lambda content: pc.binary_length(content.combine_chunks().cast(pa.binary())).cast(pa.int64()),
}


class Texts(NamedTuple):
    """Texts as compiled loops take them: text i is data[offsets[i]:offsets[i + 1]], valid UTF-8."""

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]  # one more than there are texts

    def __len__(self) -> int:
        return len(self.offsets) - 1


def texts_of(column: pa.ChunkedArray | pa.Array) -> Texts:
    """A string column without copying its text (but where it has several chunks); a null is an empty text."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # more than 2 GB, or no chunk
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], pa.string())
    array = pc.fill_null(array, "").cast(pa.large_string())
    _, offsets, data = array.buffers()
    starts = np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8) if offsets else np.zeros(1, np.int64)
    return Texts(np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), starts)
