"""The decontamination stage: needles of all benchmarks, then a task a shard."""

from __future__ import annotations

import time
from pathlib import Path

from megatron_snow.common.records import Manifest
from megatron_snow.config import Corpus
from megatron_snow.corpus.decontamination.search import HITS, decontaminate_shard, read_needles
from megatron_snow.pipeline import INLINE, WORK, Execution, Stage, Task, run_stage, tasks_by_shard
from megatron_snow.tasks import benchmark_path


def decontaminate(corpus: Corpus, inputs: list[Path], output: Path, execution: Execution = INLINE) -> Manifest:
    """Drop documents that hold text of a benchmark; SHARD.hits.jsonl beside each shard names every hit."""
    started = time.monotonic()
    benchmarks, ngram = corpus.decontamination.benchmarks, corpus.decontamination.ngram
    reading = Stage("decontaminate: needles", 2, read_needles, {"benchmarks": list(benchmarks), "ngram": ngram}, (".json",))
    needles = output / WORK / "needles"
    run_stage(reading, [Task("needles", tuple(benchmark_path(name) for name in benchmarks))], needles)
    stage = Stage("decontaminate", 2, decontaminate_shard, {"ngram": ngram}, (".parquet", HITS))
    tasks = tasks_by_shard(inputs, also=[needles / "needles.json"])
    return run_stage(stage, tasks, output, execution, started)
