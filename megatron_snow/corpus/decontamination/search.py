"""The tasks of the stage: the needles of all benchmarks, and a shard's documents without a leak."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from megatron_snow.common.files import beside
from megatron_snow.common.records import read_json, write_json
from megatron_snow.corpus.decontamination.index import Index, Leak
from megatron_snow.corpus.decontamination.lock import lock_of
from megatron_snow.corpus.decontamination.needles import Needle, needles_of
from megatron_snow.corpus.decontamination.semantic import Likeness, Program, SemanticIndex, programs_of
from megatron_snow.corpus.outcome import Outcome
from megatron_snow.pipeline import batches_of, schema_of, texts_of
from megatron_snow.tasks import load_texts

HITS = ".hits.jsonl"  # beside a shard: benchmark, task, kind, text, span; id, repository and path of the document
SEMANTIC = ".semantic.jsonl"  # the same for functions that are like a solution
NEEDLES, RUNS, LOCKED, PROGRAMS = ".json", ".npz", ".lock.json", ".programs.json"


def index_of(benchmarks: Sequence[str], ngram: int) -> Index:
    """An index to ask about single texts, for example about what a model wrote."""
    return Index([needle for name in benchmarks for needle in needles_of(name)], ngram)


def read_needles(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: the needles of all benchmarks and their runs for the search; what names them and is trivial for the lock."""
    needles, programs, problems = [], [], {}
    for name, path in zip(parameters["benchmarks"], inputs):
        tasks = load_texts(path)
        problems[name] = len(tasks)
        needles += needles_of(name, tasks)
        programs += programs_of(name, tasks)
    index = Index(needles, parameters["ngram"])
    index.save(beside(prefix, RUNS))
    files = dict(zip(problems, inputs))
    write_json(beside(prefix, LOCKED), lock_of(files, problems, needles, index.reasons, parameters["ngram"]))
    write_json(beside(prefix, NEEDLES), [asdict(needle) | {"text": ""} for needle in needles])  # the search has the words it needs
    write_json(beside(prefix, PROGRAMS), [asdict(program) for program in programs])
    return {"needles": len(needles), "trivial_needles": index.trivial}


def decontaminate_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: a shard's documents without a leak, and the hits; with a fourth input also the functions that are like a solution."""
    shard, needles, runs, *programs = inputs
    index, semantic = _index(needles, runs), _semantic(*programs)
    with Outcome(prefix, schema_of(shard), parameters["samples"]) as outcome, ExitStack() as files:
        hits = files.enter_context(open(beside(prefix, HITS), "w", encoding="utf-8"))
        alike = files.enter_context(open(beside(prefix, SEMANTIC), "w", encoding="utf-8")) if semantic else None
        for batch in batches_of(shard, piece=parameters.get("piece")):
            rules = [""] * batch.num_rows
            for row, document, leaks in leaks_in(index, batch):
                rules[row] = f"benchmark_{leaks[0].benchmark}"
                for leak in leaks:
                    outcome.tally[f"hits:{leak.benchmark}:{leak.kind}"] += 1
                    _write(hits, leak, document)
            if semantic and alike:
                for likeness, document in _alike(semantic, batch, rules):
                    outcome.tally[f"semantic:{likeness.benchmark}:{likeness.kind}"] += 1
                    _write(alike, likeness, document)
            outcome.add(batch, rules)
    return outcome.tally


def _write(file: IO[str], found: Leak | Likeness, document: Mapping[str, Any]) -> None:
    record = found.to_json() | {name: document[name] for name in ("id", "repository", "path")}
    file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _alike(index: SemanticIndex, batch: pa.Table, rules: Sequence[str]) -> Iterator[tuple[Likeness, dict[str, Any]]]:
    """What is like a solution in the Python documents that no rule drops."""
    wanted = pc.and_(pc.equal(pc.fill_null(batch["language"], ""), "Python"), pc.equal(pa.array(rules, pa.string()), ""))
    for document in batch.filter(wanted).to_pylist():
        yield from ((likeness, document) for likeness in index.alike(document["content"] or ""))


def leaks_in(index: Index, batch: pa.Table) -> Iterator[tuple[int, dict[str, Any], list[Leak]]]:
    """(row, document, leaks) of each document of a batch that holds a needle."""
    for row, hits in groupby(index.search(texts_of(batch["content"])), key=lambda hit: int(hit["text"])):
        document = batch.slice(row, 1).to_pylist()[0]
        yield row, document, index.leaks_of(document["content"], list(hits))


# One reading a process: a task a shard of 24 MB takes 0.2 s, reading a million runs half of that.


def _index(needles: Path, runs: Path) -> Index:
    return _read_index(needles, runs, needles.stat().st_mtime_ns, runs.stat().st_mtime_ns)


def _semantic(programs: Path | None = None) -> SemanticIndex | None:
    return _read_semantic(programs, programs.stat().st_mtime_ns) if programs else None


@lru_cache(1)
def _read_index(needles: Path, runs: Path, *times: int) -> Index:
    return Index.load(runs, [Needle(**entry) for entry in read_json(needles)])


@lru_cache(1)
def _read_semantic(programs: Path, time: int) -> SemanticIndex:
    return SemanticIndex([Program(**entry) for entry in read_json(programs)])
