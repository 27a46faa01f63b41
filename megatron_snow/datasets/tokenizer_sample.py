"""The text that a tokenizer is trained on: a seeded sample, balanced over languages."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.common.records import Manifest
from megatron_snow.datasets.order import BLOCK, Permutation, derive_key
from megatron_snow.datasets.text_columns import is_parquet
from megatron_snow.datasets.texts import texts_by_language
from megatron_snow.pipeline import Stage, Task, read_table, run_stage
from megatron_snow.tokenizers import train_byte_level, train_sentencepiece

Key = TypeVar("Key", bound=Hashable)
Kind = Literal["sentencepiece", "byte_level"]
SUFFIXES = {"sentencepiece": ".model", "byte_level": ".json"}
_TRAINERS = {"sentencepiece": train_sentencepiece, "byte_level": train_byte_level}

# Documents that are drawn in place of those which fit no more, relative to what is needed and at least.
_SPARE, _SPARE_DOCUMENTS = 1.5, 100


def train_tokenizer(
    inputs: Sequence[Path], output: Path, *, vocab_size: int, train_bytes: int, seed: int, kind: Kind = "sentencepiece"
) -> Manifest:
    """Train on a sample of document shards; writes output/tokenizer.model or tokenizer.json and a manifest. Skipped where it is done."""
    parameters = {"vocab_size": vocab_size, "train_bytes": train_bytes, "seed": seed, "kind": kind}
    stage = Stage("train_tokenizer", 2, _train, parameters, suffixes=(SUFFIXES[kind],))
    manifest = run_stage(stage, [Task("tokenizer", tuple(inputs))], output)
    for suffix in {*SUFFIXES.values()} - {SUFFIXES[kind]}:  # of an earlier recipe: the folder holds one tokenizer
        (output / f"tokenizer{suffix}").unlink(missing_ok=True)
    return manifest


def _train(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    return train_on_sample(inputs, beside(prefix, SUFFIXES[parameters["kind"]]), **parameters)


def train_on_sample(
    inputs: Sequence[Path],
    model: Path,
    *,
    vocab_size: int,
    train_bytes: int,
    seed: int,
    kind: Kind = "sentencepiece",
    key: str = "content",
) -> Mapping[str, int]:
    """Train on a sample of document shards (Parquet) or JSONL files whose text stands under `key`; counts of the sample.

    In memory are the sample and 8 bytes a document of the inputs.
    """
    names: dict[str, int] = {}
    facts = [_languages_and_sizes(path, key, names) for path in inputs]
    languages = np.concatenate([np.empty(0, np.int32), *(codes for codes, _ in facts)])
    sizes = np.concatenate([np.empty(0, np.int32), *(size for _, size in facts)])
    chosen = choose_balanced(languages, sizes, train_bytes, seed)
    if not len(chosen):
        raise UserError(f"{inputs[0] if inputs else '--input'}: no text to train a tokenizer on; check the corpus stages before this one")
    _TRAINERS[kind](_texts(inputs, [len(size) for _, size in facts], chosen, key), vocab_size, model)
    return {"documents": len(chosen), "bytes": int(sizes[chosen].sum(dtype=np.int64))}


def choose_balanced(languages: NDArray[np.integer], sizes: NDArray[np.integer], budget: int, seed: int) -> NDArray[np.int64]:
    """Numbers, ascending, of the documents of a sample of about `budget` bytes; `languages` are codes, `sizes` bytes.

    A language's quota goes with the square root of its size: with equal shares 8,192 pieces would be
    spent on languages that hardly occur, with plain proportions on the largest alone. What a small
    language cannot fill goes to the others. A language's documents are taken in a random order while they fit.
    """
    counts = np.bincount(languages)
    totals = np.bincount(languages, weights=sizes)
    quota = quotas({code: int(totals[code]) for code in range(len(totals)) if totals[code]}, budget)
    shares = np.array([quota.get(code, 0.0) for code in range(len(totals))]) / np.maximum(totals, 1)
    order = Permutation(len(sizes), derive_key("tokenizer", seed))
    limits = np.minimum(1.0, _SPARE * shares + _SPARE_DOCUMENTS / np.maximum(counts, 1)) * len(sizes)
    candidates = _before(order, limits, languages, sizes)
    chosen = []
    for number in candidates.tolist():
        code, size = int(languages[number]), int(sizes[number])
        if size <= quota[code]:
            chosen.append(number)
            quota[code] -= size
    return np.sort(np.array(chosen, np.int64))


def _before(
    order: Permutation, limits: NDArray[np.float64], languages: NDArray[np.integer], sizes: NDArray[np.integer]
) -> NDArray[np.int64]:
    """The documents with text whose place in the order is below their language's limit, in that order."""
    found, places = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for first in range(0, len(sizes), BLOCK):
        numbers = np.arange(first, min(first + BLOCK, len(sizes)))
        place = order.inverse(numbers)
        kept = (place < limits[languages[numbers]]) & (sizes[numbers] > 0)
        found.append(numbers[kept])
        places.append(place[kept])
    return np.concatenate(found)[np.argsort(np.concatenate(places))]


def quotas(sizes: Mapping[Key, int], budget: int) -> dict[Key, float]:
    """Bytes of each language: in proportion to the root of its size, at most its size, together at most the budget."""
    quota: dict[Key, float] = {}
    open_languages, left = set(sizes), float(budget)
    while open_languages:
        total = sum(sizes[language] ** 0.5 for language in open_languages)
        full = {language for language in open_languages if sizes[language] <= left * sizes[language] ** 0.5 / max(total, 1e-9)}
        if not full:
            return quota | {language: left * sizes[language] ** 0.5 / total for language in open_languages}
        quota |= {language: float(sizes[language]) for language in full}
        left -= sum(sizes[language] for language in full)
        open_languages -= full
    return quota


def _languages_and_sizes(path: Path, key: str, names: dict[str, int]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The language, as its number in `names`, and the bytes of each document of a file."""
    if is_parquet(path):
        table = read_table(path, ["language", "size"])
        languages, sizes = table["language"].to_pylist(), table["size"].to_numpy()
    else:
        batches = [(languages, pc.binary_length(texts)) for languages, texts in texts_by_language(path, key)]
        languages = [language for batch, _ in batches for language in batch.to_pylist()]
        sizes = np.concatenate([np.empty(0, np.int32), *(size.to_numpy() for _, size in batches)])
    return np.array([names.setdefault(language, len(names)) for language in languages], np.int32), sizes.astype(np.int32)


def _texts(inputs: Sequence[Path], lengths: Sequence[int], chosen: NDArray[np.int64], key: str) -> Iterator[str]:
    first = 0
    for path, length in zip(inputs, lengths):
        if np.searchsorted(chosen, first) < np.searchsorted(chosen, first + length):
            start = first
            for _, texts in texts_by_language(path, key):
                here = chosen[slice(*np.searchsorted(chosen, (start, start + len(texts))))]
                yield from texts.take(pa.array(here - start)).to_pylist()
                start += len(texts)
        first += length
