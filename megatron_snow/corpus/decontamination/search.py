"""The tasks of the stage: the needles of all benchmarks, and a shard's documents without a leak."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from megatron_snow.common.files import beside
from megatron_snow.common.records import read_json, write_json
from megatron_snow.corpus.decontamination.index import Index, Leak
from megatron_snow.corpus.decontamination.lock import lock_of
from megatron_snow.corpus.decontamination.needles import Needle, needles_of
from megatron_snow.corpus.outcome import Outcome
from megatron_snow.pipeline import batches_of, schema_of, texts_of
from megatron_snow.tasks import load_texts

HITS = ".hits.jsonl"  # beside a shard: benchmark, task, kind, text, span; id, repository and path of the document
NEEDLES, RUNS, LOCKED = ".json", ".npz", ".lock.json"


def index_of(benchmarks: Sequence[str], ngram: int) -> Index:
    """An index to ask about single texts, for example about what a model wrote."""
    return Index([needle for name in benchmarks for needle in needles_of(name)], ngram)


def read_needles(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: the needles of all benchmarks and their runs for the search; what names them and is trivial for the lock."""
    needles, problems = [], {}
    for name, path in zip(parameters["benchmarks"], inputs):
        tasks = load_texts(path)
        problems[name] = len(tasks)
        needles += needles_of(name, tasks)
    index = Index(needles, parameters["ngram"])
    index.save(beside(prefix, RUNS))
    files = dict(zip(problems, inputs))
    write_json(beside(prefix, LOCKED), lock_of(files, problems, needles, index.reasons, parameters["ngram"]))
    write_json(beside(prefix, NEEDLES), [asdict(needle) | {"text": ""} for needle in needles])  # the search has the words it needs
    return {"needles": len(needles), "trivial_needles": index.trivial}


def decontaminate_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: a shard's documents without a leak, and the hits."""
    shard, needles, runs = inputs
    index = _index(needles, runs)
    with Outcome(prefix, schema_of(shard), parameters["samples"]) as outcome, open(beside(prefix, HITS), "w", encoding="utf-8") as file:
        for batch in batches_of(shard, piece=parameters.get("piece")):
            rules = [""] * batch.num_rows
            for row, document, leaks in leaks_in(index, batch):
                rules[row] = f"benchmark_{leaks[0].benchmark}"
                for leak in leaks:
                    outcome.tally[f"hits:{leak.benchmark}:{leak.kind}"] += 1
                    record = leak.to_json() | {name: document[name] for name in ("id", "repository", "path")}
                    file.write(json.dumps(record, ensure_ascii=False) + "\n")
            outcome.add(batch, rules)
    return outcome.tally


def leaks_in(index: Index, batch: pa.Table) -> Iterator[tuple[int, dict[str, Any], list[Leak]]]:
    """(row, document, leaks) of each document of a batch that holds a needle."""
    for row, hits in groupby(index.search(texts_of(batch["content"])), key=lambda hit: int(hit["text"])):
        document = batch.slice(row, 1).to_pylist()[0]
        yield row, document, index.leaks_of(document["content"], list(hits))


def _index(needles: Path, runs: Path) -> Index:
    return _loaded(needles, runs, needles.stat().st_mtime_ns, runs.stat().st_mtime_ns)


@lru_cache(1)
def _loaded(needles: Path, runs: Path, *times: int) -> Index:
    """One reading a process: a task a shard of 24 MB takes 0.2 s, reading a million runs half of that."""
    return Index.load(runs, [Needle(**entry) for entry in read_json(needles)])
