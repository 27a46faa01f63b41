"""The rows of a corpus.lock by what a mirror's file may have in common with them: its bytes, its text, its name."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from megatron_snow.common.checksums import text_digest
from megatron_snow.common.errors import UserError
from megatron_snow.corpus.lock.header import CONTENT_DIGEST, FILE_SHA256

_HEX = 16  # digits of a digest that the index keeps, 64 bits; who finds a row compares the whole


class Index:
    """Row numbers by a digest: 16 bytes a row."""

    def __init__(self, digests: pa.ChunkedArray) -> None:
        heads = pc.utf8_slice_codeunits(digests, 0, _HEX)
        keys = np.frombuffer(bytes.fromhex("".join(heads.to_pylist())), ">u8").astype(np.uint64)
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def rows(self, digest: str) -> NDArray[np.int64]:
        """Rows whose digest begins like this one, in order."""
        key = np.uint64(int(digest[:_HEX], 16))
        first, last = np.searchsorted(self._keys, key, "left"), np.searchsorted(self._keys, key, "right")
        return np.sort(self._order[first:last])


class Wanted:
    """The facts of every row that finding it needs. About 250 bytes of memory a row."""

    def __init__(self, lock: Path) -> None:
        columns = ["id", "sha256", "swhid", "repository", "revision", "path", "language", CONTENT_DIGEST, FILE_SHA256]
        table = pq.read_table(lock, columns=columns)
        table = table.set_column(0, "content", pc.coalesce(table[CONTENT_DIGEST], table["id"]))
        sha256 = pc.if_else(pc.is_valid(table[FILE_SHA256]), table[FILE_SHA256], table["sha256"])
        table = table.set_column(1, "sha256", sha256).drop_columns([*(CONTENT_DIGEST, FILE_SHA256)])
        for name in ("content", "sha256"):
            if not pc.all(pc.fill_null(pc.match_substring_regex(table[name], f"^[0-9a-f]{{{_HEX}}}"), False), min_count=0).as_py():
                raise UserError(f"--lock {lock}: damaged: a document without the digest of its {name}; fetch it again")
        self.table = table.combine_chunks()
        self._by_file = Index(table["sha256"])
        self._by_content = Index(table["content"])
        names = zip(table["repository"].to_pylist(), table["path"].to_pylist())
        self._by_name = Index(pa.chunked_array([pa.array((_name_key(*name) for name in names), pa.string())]))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def languages(self) -> frozenset[str]:
        """The languages of the rows: prose (Markdown) is looked at only where one names it."""
        return frozenset(pc.unique(self.table["language"].drop_null()).to_pylist())

    def facts(self, row: int) -> dict[str, Any]:
        """content (digest), sha256, swhid, repository, revision, path and language of a row; "" for null."""
        return {name: value or "" for name, value in self.table.slice(row, 1).to_pylist()[0].items()}

    def with_file(self, sha256: str) -> list[int]:
        """Rows made from a file of these bytes."""
        return self._exact(self._by_file.rows(sha256), "sha256", sha256)

    def with_content(self, digest: str) -> list[int]:
        """Rows whose content has this digest."""
        return self._exact(self._by_content.rows(digest), "content", digest)

    def with_name(self, repository: str, path: str) -> list[int]:
        """Rows of this name."""
        rows = self._by_name.rows(_name_key(repository, path))
        return [row for row in self._exact(rows, "path", path) if (self.table["repository"][row].as_py() or "") == repository]

    def _exact(self, rows: Iterable[Any], column: str, value: str) -> list[int]:
        return [int(row) for row in rows if (self.table[column][int(row)].as_py() or "") == value]


def _name_key(repository: str | None, path: str | None) -> str:
    return text_digest(f"{repository or ''}\0{path or ''}")


@lru_cache(1)
def wanted_of(lock: Path) -> Wanted:
    """The rows of a lock, read once a process."""
    return Wanted(lock)
