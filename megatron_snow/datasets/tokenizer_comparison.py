"""Several tokenizers on the same texts, read once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from megatron_snow.common.errors import UserError
from megatron_snow.common.progress import progress
from megatron_snow.datasets.texts import texts_by_language
from megatron_snow.tokenizers import FertilityCounter, Tokenizer

_BATCH_BYTES = 4_000_000  # characters of a language that are encoded at once


def compare_tokenizers(
    inputs: Sequence[Path], tokenizers: Sequence[Tokenizer], *, key: str = "text", language_bytes: int = 0
) -> list[dict[str, Any]]:
    """The report of each tokenizer (`FertilityCounter.report`) on document shards, or JSONL files with the text under `key`.

    A text's language stands under "language"; `language_bytes`: of each language, texts until so many bytes were met, 0 for all.
    """
    counters = [FertilityCounter(tokenizer) for tokenizer in tokenizers]
    for language, texts in _batches(inputs, key, language_bytes):
        for counter in counters:
            counter.add(language, texts)
    if not counters[0].languages:
        raise UserError(f"{inputs[0]}: no text to compare tokenizers on; check --input")
    return [counter.report() for counter in counters]


def _batches(inputs: Sequence[Path], key: str, language_bytes: int) -> Iterator[tuple[str, list[str]]]:
    waiting: dict[str, list[str]] = defaultdict(list)
    waits: dict[str, int] = defaultdict(int)
    seen: dict[str, int] = defaultdict(int)
    for path in progress(inputs, label="tokenizer report", unit="file", total=len(inputs)):
        pairs = (pair for batch in texts_by_language(path, key) for pair in zip(*(column.to_pylist() for column in batch)))
        for language, text in pairs:
            if language_bytes and seen[language] >= language_bytes:
                continue
            seen[language] += len(text.encode())
            waiting[language].append(text)
            waits[language] += len(text)
            if waits[language] >= _BATCH_BYTES:
                yield language, waiting.pop(language)
                waits[language] = 0
        for language in list(waiting):  # at most a file's languages are in memory
            yield language, waiting.pop(language)
        waits.clear()
