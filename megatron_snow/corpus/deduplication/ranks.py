"""Which document of a set stays: a rule about documents alone, as four numbers that are compared in order.

BigCode's order (The Stack v2): the licence's kind, stars, forks, date; then the repository, so that of two
copies of a repository the files of one stay together. Names are compared by their digest: any order does
that is the same for everyone, and numbers need no strings in the shuffle.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from megatron_snow.common.digests import digests_of
from megatron_snow.pipeline import texts_of

COLUMNS = ("licence_kind", "licence", "stars", "forks", "date", "repository", "path", "provenance")
NEW = np.uint64(1 << 63)  # in the first number: not of the corpus that the others are compared against

_KINDS = ["permissive", "unlicensed", "unknown", "copyleft"]
_MOST = (1 << 30) - 1  # stars and forks that are told apart
_Words = NDArray[np.uint64]


def ranks_of(table: pa.Table) -> _Words:
    """uint64[4, documents] from the columns COLUMNS; of two documents the one with the smaller numbers stays."""
    return np.stack([_standing(table), _dates(table["date"]), *_names(table)])


def _standing(table: pa.Table) -> _Words:
    """Kind of licence (none said: unknown), whether there is a licence at all, stars, forks."""
    kinds = pc.index_in(table["licence_kind"], pa.array(_KINDS))
    kind = _numbers(pc.fill_null(kinds, _KINDS.index("unknown")))
    unlicensed = _numbers(pc.equal(pc.fill_null(table["licence"], ""), "").cast(pa.uint8()))
    stars, forks = (_fewer(table[name]) for name in ("stars", "forks"))
    return kind << np.uint64(61) | unlicensed << np.uint64(60) | stars << np.uint64(30) | forks


def _fewer(column: pa.ChunkedArray) -> _Words:
    return np.uint64(_MOST) - np.clip(pc.fill_null(column, 0).to_numpy(), 0, _MOST).astype(np.uint64)


def _dates(column: pa.ChunkedArray) -> _Words:
    """Digits of ISO 8601 up to the second, so the earlier first (the original before its copies); not known: last."""
    if column.null_count == len(column):
        return np.full(len(column), NEW)
    digits = pc.replace_substring_regex(pc.fill_null(column, ""), "[^0-9]", "")
    numbers = _numbers(pc.cast(pc.utf8_rpad(pc.utf8_slice_codeunits(digits, 0, 14), 14, "0"), pa.uint64()))
    return np.where(pc.equal(digits, "").to_numpy(), NEW, numbers)


def _names(table: pa.Table) -> tuple[_Words, _Words]:
    place = pc.binary_join_element_wise(pc.fill_null(table["path"], ""), pc.fill_null(table["provenance"], ""), "\0")
    first, second = (digests_of(*texts_of(column))[:, :8] for column in (table["repository"], place))
    return _big_endian(first), _big_endian(second)


def _big_endian(digests: NDArray[np.uint8]) -> _Words:
    return np.ascontiguousarray(digests).view(">u8")[:, 0].astype(np.uint64)


def _numbers(column: pa.ChunkedArray) -> _Words:
    return np.asarray(column.to_numpy().astype(np.uint64))
