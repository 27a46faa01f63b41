"""Exact and near deduplication of files (StarCoder2: MinHash-LSH, word 5-grams, Jaccard 0.7).

Three passes: signatures (a task a shard), clusters (one task over all signatures), and the survivors
(a task a shard). The survivor of a cluster is the document with a known licence, then the first by
repository and path: a rule about documents, so the result does not depend on order or workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from megatron_snow.common.files import beside
from megatron_snow.corpus.counting import Tally
from megatron_snow.corpus.deduplication.clusters import buckets, connect
from megatron_snow.corpus.shingles import Hashes, shingles, signature
from megatron_snow.pipeline import read_table, write_table

_FACTS = ("id", "licence", "repository", "path", "provenance")


class Entry(NamedTuple):
    """A document, by the survivor rule: the smallest of a cluster is kept."""

    unlicensed: bool
    repository: str
    path: str
    id: str
    provenance: str
    shard: int
    row: int


def sign_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: the MinHash signature of each document; null where it has no word."""
    permutations, n = parameters["bands"] * parameters["rows"], parameters["ngram"]
    table = read_table(inputs[0], (*_FACTS, "content"))
    signatures = []
    for content in table["content"]:
        hashes = shingles(content.as_py(), n)
        signatures.append(signature(hashes, permutations).tobytes() if len(hashes) else None)
    column = pa.array(signatures, pa.binary(4 * permutations))
    write_table(table.drop_columns("content").append_column("signature", column), beside(prefix, ".parquet"))
    return {}


def cluster_documents(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: the cluster of every document, from the signatures (first half of the inputs) and the shards (second half)."""
    half = len(inputs) // 2
    signed, shards = inputs[:half], inputs[half:]
    entries, signatures = _read_signatures(signed)
    exact = _exact_survivors(entries)
    survivors = sorted(set(exact.values()))
    hashed = [entry for entry in survivors if signatures[entry]]
    matrix = np.frombuffer(b"".join(signatures[entry] for entry in hashed), np.uint32)
    matrix = matrix.reshape(len(hashed), parameters["bands"] * parameters["rows"])
    groups = list(buckets(matrix, parameters["bands"], parameters["rows"]))
    texts = _shingles_of(hashed, groups, shards, parameters["ngram"])
    components = connect(groups, len(hashed), texts.__getitem__, parameters["threshold"])
    near = {entry: hashed[components.find(number)] for number, entry in enumerate(hashed)}  # sorted: the root is the survivor
    _write_clusters(entries, exact, near, [path.stem for path in shards], beside(prefix, ".parquet"))
    return {"clusters": len(set(near.values())) + len(survivors) - len(hashed), "candidates": len(texts)}


def _read_signatures(paths: Sequence[Path]) -> tuple[list[Entry], dict[Entry, bytes]]:
    entries: list[Entry] = []
    signatures: dict[Entry, bytes] = {}
    for shard, path in enumerate(paths):
        rows = zip(*(read_table(path)[name].to_pylist() for name in (*_FACTS, "signature")))
        for row, (id, licence, repository, place, provenance, signed) in enumerate(rows):
            entry = Entry(not licence, repository, place, id, provenance, shard, row)
            entries.append(entry)
            signatures[entry] = signed or b""
    return entries, signatures


def _exact_survivors(entries: list[Entry]) -> dict[str, Entry]:
    """Content digest -> the document that stays."""
    kept: dict[str, Entry] = {}
    for entry in entries:
        known = kept.get(entry.id)
        if known is None or entry < known:
            kept[entry.id] = entry
    return kept


def _shingles_of(entries: list[Entry], groups: list[Any], shards: Sequence[Path], n: int) -> dict[int, Hashes]:
    """The shingles of the documents that are in some group, by their number in `entries`."""
    by_shard: dict[int, list[int]] = {}
    for number in sorted({int(number) for group in groups for number in group}):
        by_shard.setdefault(entries[number].shard, []).append(number)
    found: dict[int, Hashes] = {}
    for shard, numbers in by_shard.items():
        contents = read_table(shards[shard], ["content"])["content"]
        found |= {number: shingles(contents[entries[number].row].as_py(), n) for number in numbers}
    return found


def _write_clusters(entries: list[Entry], exact: dict[str, Entry], near: dict[Entry, Entry], names: list[str], path: Path) -> None:
    rows = []
    for entry in entries:
        first = exact[entry.id]
        last = near.get(first, first)
        rule = "exact_duplicate" if entry != first else "near_duplicate" if first != last else ""
        rows.append({"shard": names[entry.shard], "row": entry.row, "id": entry.id, "cluster_id": last.id, "dropped": rule})
    schema = pa.schema(
        [("shard", pa.string()), ("row", pa.int64()), ("id", pa.string()), ("cluster_id", pa.string()), ("dropped", pa.string())]
    )
    write_table(pa.Table.from_pylist(rows, schema), path)


def keep_survivors(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: a shard's surviving documents, with the `cluster_id` (the content digest of the cluster's survivor)."""
    table = read_table(inputs[0])
    clusters = pq.read_table(inputs[1], filters=[("shard", "=", inputs[0].stem)]).sort_by("row")
    tally = Tally()
    for rule, language, size in zip(*(column.to_pylist() for column in (clusters["dropped"], table["language"], table["size"]))):
        if rule:
            tally.drop(rule, language, size)
        else:
            tally.keep(language, size)
    if "cluster_id" in table.column_names:  # of an earlier deduplication
        table = table.drop_columns("cluster_id")
    table = table.append_column("cluster_id", clusters["cluster_id"])
    write_table(table.filter(pc.equal(clusters["dropped"], "")), beside(prefix, ".parquet"))
    return tally
