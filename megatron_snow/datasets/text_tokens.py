"""A piece of a file of texts to its part of the datasets, one for each key: the task of `preprocess_texts`."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from megatron_snow.datasets.shared_tokenizer import SharedTokenizer
from megatron_snow.datasets.text_columns import TextColumn, place_of, text_columns
from megatron_snow.datasets.writing import IndexedWriter
from megatron_snow.pipeline import process_pool
from megatron_snow.tokenizers import Tokenizer
from megatron_snow.tokenizers.engines import EngineError

_AHEAD = 3  # batches on their way to a helper and back


class Encoded(NamedTuple):
    """Documents as IndexedWriter.append_sequences takes them."""

    ids: NDArray[np.int32]
    lengths: NDArray[np.int64]
    documents: NDArray[np.int64]


Batch = Sequence[TextColumn]  # a column for each key


def dataset_name(name: str, key: str) -> str:
    """What Megatron-LM's tool calls the dataset of a key."""
    return f"{name}_{key}_document"


def tokenize_piece(
    inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any], *, shared: SharedTokenizer, helpers: int
) -> Mapping[str, int]:
    """Task: a file of texts, or a piece of it -> PREFIX_KEY_document.{bin,idx} for each key.

    Parameters: path, piece, keys, dtype, eod (the id that ends each document, None: no such token). `helpers` more processes
    encode, where there are more workers than tasks: a compressed file cannot be cut.
    """
    path, piece, keys = Path(parameters["path"]), parameters.get("piece"), parameters["keys"]
    counts = Counter({"documents": 0, "bytes": 0, "tokens": 0})
    with ExitStack() as stack:
        names = [prefix.with_name(dataset_name(prefix.name, key)) for key in keys]
        writers = [stack.enter_context(IndexedWriter(name, parameters["dtype"])) for name in names]
        encode = partial(_encode, shared, parameters["eod"])
        try:
            for size, columns in _in_order(encode, text_columns(path, keys, piece), helpers):
                for writer, encoded in zip(writers, columns):
                    writer.append_sequences(*encoded)
                counts.update(documents=len(columns[0].documents), bytes=size, tokens=sum(len(encoded.ids) for encoded in columns))
        except EngineError as error:
            raise error.within(place_of(path, piece, counts["documents"] + error.index)) from error
    return counts


def _encode(shared: SharedTokenizer, eod: int | None, batch: Batch) -> tuple[int, list[Encoded]]:
    """(bytes of text, ids and lengths for each key)."""
    return sum(column.size for column in batch), [encode_column(column, shared.tokenizer, eod) for column in batch]


def encode_column(column: TextColumn, tokenizer: Tokenizer, eod: int | None) -> Encoded:
    """As Megatron-LM's tool: a text without ids leaves no sequence, a document with any ends with `eod`, in its last sequence.

    The index of an EngineError is the document's.
    """
    last = np.arange(1, len(column.texts) + 1) if column.counts is None else np.cumsum(column.counts)
    try:
        ids, ends = tokenizer.encode_batch(column.texts.to_numpy(zero_copy_only=False).tolist())
    except EngineError as error:
        raise error.at(int(np.searchsorted(last, error.index, side="right"))) from error
    lengths = np.diff(ends, prepend=0)
    filled = np.concatenate([[0], np.cumsum(lengths > 0)])
    documents = np.diff(filled[last], prepend=0)
    lengths = lengths[lengths > 0]
    if eod is not None:
        ending = np.cumsum(documents)[documents > 0] - 1  # the last sequence of each document that has one
        ids = np.insert(ids, np.cumsum(lengths)[ending], eod)
        lengths[ending] += 1
    return Encoded(ids, lengths, documents)


def _in_order(
    encode: Callable[[Batch], tuple[int, list[Encoded]]], batches: Iterable[Batch], helpers: int
) -> Iterator[tuple[int, list[Encoded]]]:
    """Encode batches here or on helpers, in the order of the input, with a bounded number on the way."""
    if helpers < 2:
        yield from map(encode, batches)
        return
    waiting: deque[Future[tuple[int, list[Encoded]]]] = deque()
    with process_pool(helpers) as pool:
        left = iter(batches)
        waiting.extend(pool.submit(encode, batch) for batch in islice(left, _AHEAD * helpers))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(encode, batch) for batch in islice(left, 1))
