"""Seeded samples of documents: the lowest digests of (seed, purpose, id).

Whether a document is in the sample depends on its id alone, so shards can be read in any order, in
parallel, and a larger sample holds the smaller one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from megatron_snow.common.checksums import text_digest
from megatron_snow.pipeline import read_documents


def ticket(seed: int, purpose: str, document_id: str) -> str:
    """A document's place in the draw: 32 hexadecimal characters, uniform; the lowest win."""
    return text_digest(f"{seed}:{purpose}:{document_id}")


def draw(shards: Iterable[Path], count: int, seed: int, purpose: str, allowed: Callable[[str], bool]) -> dict[str, str]:
    """{id: ticket} of `count` random documents whose repository is allowed, in the order of their tickets."""
    candidates = ((ticket(seed, purpose, row["id"]), row["id"]) for row in _identities(shards) if allowed(row["repository"]))
    return {document_id: drawn for drawn, document_id in heapq.nsmallest(count, candidates)}


def _identities(shards: Iterable[Path]) -> Iterator[dict[str, str]]:
    for shard in shards:
        yield from read_documents(shard, ["id", "repository"])
