"""Repository and path before a document's text, as StarCoder2 writes them (arXiv 2402.19173, 5.1).

    <repo_name>NAME<file_sep>PATH0\\nTEXT0<file_sep>PATH1\\nTEXT1...<|endoftext|>     a group with its names
    TEXT0<file_sep>TEXT1...<|endoftext|>                                           a group without

StarCoder2 decides for a repository's context, not for a file (share 0.5), so that a model reads either all names or none. The
separator between files is tokenization's, so a header is "<repo_name>NAME<file_sep>PATH\\n" at the first file of a group and
"PATH\\n" at the others. Content and id stay as they are.

A name may hold anything. A line break in it, or what spells one of the two tokens, is written as a blank.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from megatron_snow.corpus.grouping.placement import order_of

HEADER = "header"

_NOT_IN_NAMES = re.compile(r"<repo_name>|<file_sep>|[\r\n]")


def headers_of(table: pa.Table, first: NDArray[np.bool_], share: float, seed: int) -> pa.Array:
    """The header of each row, "" for those of the repositories that go without; `first`: whether a row begins its group."""
    encoded = pc.fill_null(table["repository"], "").combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    named = np.array([order_of(seed, f"header:{name}") < share * 2**64 for name in names], bool)
    if not named.any():
        return pa.array([""] * table.num_rows, pa.string())
    rows = zip(encoded.indices.to_pylist(), pc.fill_null(table["path"], "").to_pylist(), first.tolist())
    texts = [_header(names[name], path, begins) if named[name] else "" for name, path, begins in rows]
    return pa.array(texts, pa.string())


def _header(name: str, path: str, begins: bool) -> str:
    name, path = (_NOT_IN_NAMES.sub(" ", text) for text in (name, path))
    return (f"<repo_name>{name}<file_sep>" if begins else "") + f"{path}\n"
