"""How a corpus stage ends: what goes on is written, what is dropped is counted by rule and language, and a sample of it kept.

The sample of a rule is the documents with the smallest digest of their id, repository and path (of copies the id
is the same), so it does not depend on the order of shards or on workers.
"""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from megatron_snow.common.checksums import text_digest
from megatron_snow.common.files import atomic_folder, beside
from megatron_snow.common.records import read_json_lines
from megatron_snow.corpus.counting import Tally
from megatron_snow.pipeline import ShardWriter, is_explaining

REJECTS = ".rejects.jsonl"  # beside a shard; `gather_rejects` makes one file a rule of them
_SHOWN_CHARACTERS = 4000  # of a rejected document
_FACTS = ("id", "repository", "path", "language", "size")


class Outcome:
    """Writes PREFIX.parquet and PREFIX.rejects.jsonl, and keeps the tally. Use as a context manager.

    with Outcome(prefix, schema_of(shard), samples) as outcome:
        for batch in batches_of(shard):
            outcome.add(batch, rules)   # one name a row, "" for what goes on
    return outcome.tally
    """

    def __init__(self, prefix: Path, schema: pa.Schema, samples: int = 20) -> None:
        self.tally = Tally()
        self._prefix = prefix
        self._writer = ShardWriter(beside(prefix, ".parquet"), schema)
        self._samples = samples
        self._rejects: dict[str, list[tuple[str, int, dict[str, Any]]]] = defaultdict(list)  # heaps, the largest digest first
        self._seen = 0

    def add(self, batch: pa.Table, rules: Sequence[str] | pa.Array) -> None:
        """A batch of documents and, for each, the rule that drops it or ""."""
        array = pa.array(rules, pa.string()) if not isinstance(rules, pa.Array) else rules
        keep = pc.equal(array, "")
        self._count(batch, array)
        self._writer.write_table(batch.filter(keep))
        if self._samples and pc.any(pc.invert(keep)).as_py():
            dropped = batch.filter(pc.invert(keep))
            for row, rule in zip(_reject_rows(dropped), array.filter(pc.invert(keep)).to_pylist()):
                self._sample(rule, row)

    def _count(self, batch: pa.Table, rules: pa.Array) -> None:
        size = pc.fill_null(pc.coalesce(batch["size"], pc.binary_length(batch["content"]).cast(pa.int64())), 0)
        facts = pa.table({"rule": rules, "language": pc.fill_null(batch["language"], ""), "size": size})
        groups = facts.group_by(["rule", "language"]).aggregate([("size", "count"), ("size", "sum")])
        for rule, language, count, size in zip(*(groups[name].to_pylist() for name in ("rule", "language", "size_count", "size_sum"))):
            self.tally.add(rule, language, count, size)

    def _sample(self, rule: str, row: dict[str, Any]) -> None:
        self._seen += 1
        # heapq is a min-heap: digits are turned round so that the largest digest is on top and leaves first
        heap, rank = self._rejects[rule], _rank(row).translate(_REVERSED)
        if len(heap) < self._samples:
            heapq.heappush(heap, (rank, self._seen, row))
        elif rank > heap[0][0]:
            heapq.heapreplace(heap, (rank, self._seen, row))

    def __enter__(self) -> Outcome:
        self._writer.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.__exit__(*exception)
        if exception[0] is None:
            with open(beside(self._prefix, REJECTS), "w", encoding="utf-8") as file:
                for rule in sorted(self._rejects):
                    for _, _, row in sorted(self._rejects[rule], key=lambda item: (item[0], item[1]), reverse=True):
                        file.write(json.dumps({"rule": rule, **row}, ensure_ascii=False) + "\n")


_REVERSED = str.maketrans("0123456789abcdef", "fedcba9876543210")


def _rank(row: Mapping[str, Any]) -> str:
    return text_digest("\0".join(row[name] or "" for name in ("id", "repository", "path")))


def _reject_rows(dropped: pa.Table) -> list[dict[str, Any]]:
    shown = pc.utf8_slice_codeunits(dropped["content"], 0, _SHOWN_CHARACTERS)
    rows: list[dict[str, Any]] = dropped.select(_FACTS).append_column("content", shown).to_pylist()
    return rows


def gather_rejects(output: Path, samples: int) -> None:
    """OUTPUT/rejects/RULE.jsonl from what lies beside the shards: at most `samples` documents a rule. Nothing under --explain."""
    if is_explaining():
        return
    rules: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(output.glob(f"*{REJECTS}")):
        for row in read_json_lines(path):
            rules[row["rule"]].append(row)
    with atomic_folder(output / "rejects") as folder:
        for rule, rows in sorted(rules.items()):
            with open(folder / f"{rule.replace('/', '-').replace(' ', '_')}.jsonl", "w", encoding="utf-8") as file:
                for row in sorted(rows, key=_rank)[:samples]:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
