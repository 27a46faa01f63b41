"""The text that a tokenizer is trained on: a seeded sample, balanced over languages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.common.records import Manifest
from megatron_snow.datasets.order import derive_key, permutation
from megatron_snow.datasets.texts import is_parquet, read_records
from megatron_snow.pipeline import Stage, Task, read_table, run_stage
from megatron_snow.tokenizers import train_sentencepiece


def train_tokenizer(inputs: Sequence[Path], output: Path, *, vocab_size: int, train_bytes: int, seed: int) -> Manifest:
    """Train on a sample of document shards and write output/tokenizer.model with a manifest; skipped where it is done."""
    parameters = {"vocab_size": vocab_size, "train_bytes": train_bytes, "seed": seed}
    stage = Stage("train_tokenizer", 1, _train, parameters, suffixes=(".model",))
    return run_stage(stage, [Task("tokenizer", tuple(inputs))], output)


def _train(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    return train_on_sample(inputs, beside(prefix, ".model"), **parameters)


def train_on_sample(
    inputs: Sequence[Path], model: Path, *, vocab_size: int, train_bytes: int, seed: int, key: str = "content"
) -> Mapping[str, int]:
    """Train on a sample of document shards (Parquet) or JSONL files whose text stands under `key`; counts of the sample."""
    sizes = [_languages_and_sizes(path, key) for path in inputs]
    flat = [entry for entries in sizes for entry in entries]
    chosen = choose_balanced(flat, train_bytes, seed)
    if not chosen:
        raise UserError(f"{inputs[0] if inputs else '--input'}: no text to train a tokenizer on; check the corpus stages before this one")
    train_sentencepiece(_texts(inputs, [len(entries) for entries in sizes], chosen, key), vocab_size, model)
    return {"documents": len(chosen), "bytes": sum(flat[number][1] for number in chosen)}


def choose_balanced(documents: Sequence[tuple[str, int]], budget: int, seed: int) -> set[int]:
    """Numbers of the (language, bytes) documents of a sample of about `budget` bytes.

    A language's quota goes with the square root of its size: with equal shares 8,192 pieces would be
    spent on languages that hardly occur, with plain proportions on the largest alone. What a small
    language cannot fill goes to the others.
    """
    sizes: dict[str, int] = defaultdict(int)
    for language, size in documents:
        sizes[language] += size
    left = quotas(sizes, budget)
    chosen = set()
    for number in permutation(len(documents), derive_key("tokenizer", seed)).tolist():
        language, size = documents[number]
        if 0 < size <= left[language]:
            chosen.add(number)
            left[language] -= size
    return chosen


def quotas(sizes: Mapping[str, int], budget: int) -> dict[str, float]:
    """Bytes of each language: in proportion to the root of its size, at most its size, together at most the budget."""
    quota: dict[str, float] = {}
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


def _languages_and_sizes(path: Path, key: str) -> list[tuple[str, int]]:
    if is_parquet(path):
        sizes = read_table(path, ["language", "size"])
        return list(zip(sizes["language"].to_pylist(), sizes["size"].to_pylist()))
    return [(str(record.get("language", "")), len(record[key].encode())) for record in read_records(path, [key])]


def _texts(inputs: Sequence[Path], lengths: Sequence[int], chosen: set[int], key: str) -> Iterator[str]:
    first = 0
    for path, length in zip(inputs, lengths):
        if any(number in chosen for number in range(first, first + length)):
            column = "content" if is_parquet(path) else key
            for number, record in enumerate(read_records(path, [column]), first):
                if number in chosen:
                    yield record[column]
        first += length
