"""The ids of documents of grouped shards: the header's special tokens, the text, nothing between files."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from megatron_snow.tokenizers import FILE_SEPARATOR, REPOSITORY_NAME, Tokenizer
from megatron_snow.tokenizers.engines import EngineError

HEADER = "header"  # the column of corpus/grouping/headers.py; shards of others have none
# "<repo_name>NAME<file_sep>PATH\n" at the first file of a group, "PATH\n" at the others.
_NAMED = f"(?s)^{REPOSITORY_NAME}(?P<name>.*?){FILE_SEPARATOR}"


class FileTokens(NamedTuple):
    """Ids of several files, one after the other."""

    ids: NDArray[np.int32]  # [tokens]
    ends: NDArray[np.int64]  # [files], in `ids`
    name_tokens: NDArray[np.int64]  # [files], of "<repo_name>NAME<file_sep>" at the beginning of each; mostly 0


def file_tokens(documents: pa.Table, tokenizer: Tokenizer) -> FileTokens:
    """Encode `content` with `header` before it. No text can spell a special token, so those of a header are put in.

    The index of an EngineError is the document's.
    """
    content = pc.fill_null(documents["content"], "")
    if HEADER not in documents.column_names:
        return _plain(content, tokenizer)
    header = pc.fill_null(documents[HEADER], "")
    names = pc.struct_field(pc.extract_regex(header, _NAMED), "name").to_pylist()
    texts = pc.binary_join_element_wise(pc.replace_substring_regex(header, _NAMED, ""), content, "")
    return _named(names, texts, tokenizer) if any(name is not None for name in names) else _plain(texts, tokenizer)


def _plain(texts: pa.ChunkedArray, tokenizer: Tokenizer) -> FileTokens:
    ids, ends = tokenizer.encode_batch(texts.to_pylist())
    return FileTokens(ids, ends, np.zeros(len(ends), np.int64))


def _named(names: list[str | None], texts: pa.ChunkedArray, tokenizer: Tokenizer) -> FileTokens:
    pieces: list[str] = []
    for name, text in zip(names, texts.to_pylist()):
        pieces += [text] if name is None else [name, text]
    has_name = np.array([name is not None for name in names])
    last = np.cumsum(1 + has_name) - 1  # the piece that is the file's text
    try:
        ids, ends = tokenizer.encode_batch(pieces)
    except EngineError as error:
        raise error.at(int(np.searchsorted(last, error.index))) from error
    name_ends, starts = ends[last[has_name] - 1], np.concatenate([[0], ends])[last[has_name] - 1]
    places = np.stack([starts, name_ends], axis=1).ravel()
    tokens = np.tile(np.array([tokenizer.id_of(REPOSITORY_NAME), tokenizer.file_separator], np.int32), len(starts))
    name_tokens = np.zeros(len(names), np.int64)
    name_tokens[has_name] = name_ends - starts + 2
    return FileTokens(np.insert(ids, places, tokens), ends[last] + 2 * np.cumsum(has_name), name_tokens)
