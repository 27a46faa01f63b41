"""Texts to one indexed dataset, as Megatron-LM's tools/preprocess_data.py: a document is a sequence, in the order of the input."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from megatron_snow.common.files import PARTIAL, beside, commit
from megatron_snow.common.progress import progress_bar
from megatron_snow.datasets.index_format import token_dtype
from megatron_snow.datasets.texts import read_records
from megatron_snow.datasets.writing import IndexedWriter
from megatron_snow.pipeline import process_pool
from megatron_snow.tokenizers import Tokenizer, load_tokenizer

_BATCH = 64  # documents sent to a worker at once: about 1 MB of code, 0.2 s of work
_AHEAD = 4  # batches waiting a worker; bounds the memory, whatever the input

# Bytes of text and the ids under each key of one record.
Encoded = tuple[int, list[np.ndarray]]


def tokenize_texts(
    inputs: Sequence[Path],
    tokenizer_model: Path,
    prefix: Path,
    *,
    keys: Sequence[str] = ("text",),
    append_eod: bool = False,
    workers: int = 1,
    log_interval: int = 1000,
) -> dict[str, int]:
    """Write PREFIX_KEY_document.bin and .idx for each key; they appear whole or not at all. Counts: documents, bytes, tokens.

    The bytes are those of Megatron-LM's tool for the same ids (an empty text is a document without a
    sequence and gets no end-of-document), whatever the number of workers.
    """
    tokenizer = load_tokenizer(tokenizer_model)
    finals = [prefix.with_name(f"{prefix.name}_{key}_document") for key in keys]
    temporaries = [final.with_name(f".{final.name}.{os.getpid()}{PARTIAL}") for final in finals]
    prefix.parent.mkdir(parents=True, exist_ok=True)
    records = (record for path in inputs for record in read_records(path, keys))
    encode = partial(_encode, tokenizer_model=tokenizer_model, keys=tuple(keys))
    try:
        with ExitStack() as stack:
            writers = [stack.enter_context(IndexedWriter(temporary, token_dtype(tokenizer.vocab_size))) for temporary in temporaries]
            counts = _write(_in_order(encode, records, workers), writers, tokenizer.eod if append_eod else None, log_interval)
        for temporary, final in zip(temporaries, finals):
            beside(final, ".idx").unlink(missing_ok=True)  # never an old index beside new tokens
            for suffix in (".bin", ".idx"):
                commit(beside(temporary, suffix), beside(final, suffix))
    finally:
        for temporary in temporaries:
            for suffix in (".bin", ".idx"):
                beside(temporary, suffix).unlink(missing_ok=True)
    return counts


def _write(documents: Iterable[Encoded], writers: Sequence[IndexedWriter], eod: int | None, log_interval: int) -> dict[str, int]:
    counts = {"documents": 0, "bytes": 0, "tokens": 0}
    with progress_bar(None, label="tokenize", unit="B") as bar:
        for size, encoded in documents:
            for writer, ids in zip(writers, encoded):
                writer.append(ids)
                if eod is not None and len(ids):
                    writer.append([eod])
                writer.end_document()
            counts["documents"] += 1
            counts["bytes"] += size
            bar.update(size)
            if counts["documents"] % log_interval == 0:
                bar.set_postfix(documents=counts["documents"], tokens=sum(writer.num_tokens for writer in writers))
    return counts | {"tokens": sum(writer.num_tokens for writer in writers)}


def _in_order(
    encode: Callable[[list[dict[str, Any]]], list[Encoded]], records: Iterator[dict[str, Any]], workers: int
) -> Iterator[Encoded]:
    """Encode records on `workers` processes, in the order of the input, with a bounded number on the way."""
    batches = iter(lambda: list(islice(records, _BATCH)), [])
    if workers <= 1:
        for batch in batches:
            yield from encode(batch)
        return
    with process_pool(workers) as pool:
        waiting: deque[Future[list[Encoded]]] = deque(pool.submit(encode, batch) for batch in islice(batches, _AHEAD * workers))
        while waiting:
            yield from waiting.popleft().result()
            waiting.extend(pool.submit(encode, batch) for batch in islice(batches, 1))


def _encode(records: list[dict[str, Any]], *, tokenizer_model: Path, keys: Sequence[str]) -> list[Encoded]:
    tokenizer = _tokenizer(tokenizer_model)
    return [(sum(len(record[key].encode()) for key in keys), [tokenizer.encode_array(record[key]) for key in keys]) for record in records]


@cache
def _tokenizer(model: Path) -> Tokenizer:
    return load_tokenizer(model)
