"""Documents that hold text of a benchmark are dropped, and each hit is written down.

The paper decontaminates and does not say how; the rules and their sources stand in `needles`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from megatron_snow.common.files import beside
from megatron_snow.common.records import read_json, write_json
from megatron_snow.corpus.counting import Tally
from megatron_snow.corpus.decontamination.needles import Index, Needle, needles_of
from megatron_snow.pipeline import ShardWriter, read_documents, schema_of
from megatron_snow.tasks import load_benchmark

HITS = ".hits.jsonl"  # beside a shard: benchmark, task, kind, text; id, repository and path of the document


def read_needles(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: the needles of all benchmarks, from their files."""
    needles = [needle for name in parameters["benchmarks"] for needle in needles_of(Path(name).name, load_benchmark(name))]
    write_json(beside(prefix, ".json"), [asdict(needle) for needle in needles])
    return {"needles": len(needles), "trivial_needles": Index(needles, parameters["ngram"]).trivial}


def index_of(benchmarks: Sequence[str], ngram: int) -> Index:
    """An index to ask about single texts, for example about what a model wrote."""
    return Index([needle for name in benchmarks for needle in needles_of(Path(name).name, load_benchmark(name))], ngram)


def decontaminate_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: a shard's documents without a leak, and the hits."""
    shard, needles = inputs
    index = Index([Needle(**needle) for needle in read_json(needles)], parameters["ngram"])
    tally = Tally()
    with ShardWriter(beside(prefix, ".parquet"), schema_of(shard)) as writer, open(beside(prefix, HITS), "w", encoding="utf-8") as hits:
        for document in read_documents(shard):
            leaks = index.leaks(document["content"])
            if not leaks:
                tally.keep(document["language"], document["size"])
                writer.write(document)
                continue
            tally.drop(f"benchmark_{leaks[0].benchmark}", document["language"], document["size"])
            for leak in leaks:
                tally[f"hits:{leak.benchmark}:{leak.kind}"] += 1
                record = leak.to_json() | {name: document[name] for name in ("id", "repository", "path")}
                hits.write(json.dumps(record, ensure_ascii=False) + "\n")
    return tally
