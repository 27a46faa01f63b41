"""Texts given by path as sequences to evaluate: what specialising on code costs elsewhere (docs/domains.md).

A sequence is a window of the text: up to so many, evenly spaced over all files, at the same bytes whatever the tokenizer. It
begins with the end-of-document token and holds no more tokens than a sequence; end-of-document tokens are no targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError
from megatron_snow.pipeline import batches_of, schema_of
from megatron_snow.pipeline.columns import holds_documents
from megatron_snow.pipeline.json_lines import is_json_lines
from megatron_snow.tokenizers import Tokenizer
from megatron_snow.training.held_out_rows import Kind, Rows

# A window has at most 8 bytes for each token, and windows begin at least 4 apart: code and prose have 2.5 to 5 bytes a token.
_WINDOW, _APART = 8, 4


def domain_files(name: str, pattern: str) -> list[Path]:
    """The files of a domain, by name; UserError where there is none, or one has no column of text."""
    key = f"evaluation.domains.{name}"
    files = [Path(found) for found in sorted(glob(pattern, recursive=True)) if Path(found).is_file()]
    if not files:
        more = "; it is a folder: name its files, as in FOLDER/**/*.md" if Path(pattern).is_dir() else ""
        raise UserError(f"{key}: {pattern}: no such file{more}")
    for path in files:
        if _is_table(path) and not holds_documents(names := schema_of(path).names):
            raise UserError(f"{key}: {path}: no column of text (content, text or code); it has {', '.join(names)}")
    return files


def text_rows(name: str, files: Sequence[Path], tokenizer: Tokenizer, count: int, seq_length: int) -> Rows:
    """Up to `count` sequences of files of text, JSONL or Parquet; UserError for a damaged file, or where all is empty."""
    windows = _windows(files, count, seq_length)
    if not any(map(len, windows)):
        raise UserError(f"evaluation.domains.{name}: no text in {', '.join(map(str, files[:3]))}")
    tokens = np.full((len(windows), seq_length + 1), tokenizer.eod, np.int64)
    mask = np.zeros((len(windows), seq_length), bool)
    num_bytes = 0
    for row, window in enumerate(windows):
        end = 0  # of what the row holds so far
        for text in window:
            ids = tokenizer.encode_array(text)[: max(0, seq_length - end)]
            tokens[row, end + 1 : end + 1 + len(ids)] = ids
            mask[row, end : end + len(ids)] = True
            num_bytes += len(tokenizer.decode_bytes(ids))
            end += len(ids) + 1
    documents = np.cumsum(tokens[:, :-1] == tokenizer.eod, axis=1, dtype=np.int32)
    return Rows(tokens, mask, (Kind((("text", name),), num_bytes),), None, documents)


def _windows(files: Sequence[Path], count: int, seq_length: int) -> list[list[str]]:
    """The texts of documents, or parts of them, in each window: one pass over the files for their lengths, one for the text."""
    total = sum(int(_lengths(texts).sum()) for texts in _texts(files))
    count = max(1, min(count, total // (_APART * seq_length)))
    firsts = np.arange(count, dtype=np.int64) * total // count
    lasts = np.minimum(firsts + _WINDOW * seq_length, np.append(firsts[1:], total))
    found: list[list[str]] = [[] for _ in range(count)]
    position = 0
    for texts in _texts(files):
        ends = position + np.cumsum(_lengths(texts))
        last = int(ends[-1]) if len(ends) else position
        for window in np.flatnonzero((firsts < last) & (lasts > position)).tolist():
            found[window] += _cut(texts, ends, max(position, int(firsts[window])), min(last, int(lasts[window])))
        position = last
    return found


def _cut(texts: pa.Array, ends: NDArray[np.int64], first: int, last: int) -> Iterator[str]:
    """The documents' parts within bytes [first, last); of a character that is cut nothing stays."""
    number = int(np.searchsorted(ends, first, side="right"))
    while first < last:
        data, end = texts[number].as_buffer(), int(ends[number])  # not a copy: it may be a book, met by many windows
        start = end - data.size
        if text := bytes(memoryview(data)[first - start : min(last, end) - start]).decode("utf-8", "ignore"):
            yield text
        first, number = end, number + 1


def _lengths(texts: pa.Array) -> NDArray[np.int64]:
    return pc.binary_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)


def _texts(files: Sequence[Path]) -> Iterator[pa.Array]:
    """The documents of files in batches; one without text is empty."""
    for path in files:
        if _is_table(path):
            for table in batches_of(path, ["content"]):
                yield from (pc.fill_null(chunk, "") for chunk in table["content"].chunks)
        else:
            yield pa.array([_read(path)], pa.large_string())


def _is_table(path: Path) -> bool:
    return path.name.endswith(".parquet") or is_json_lines(path)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text in UTF-8 ({error.reason} at byte {error.start}), nor named .parquet or .jsonl") from error
