"""The decontamination stage: needles of all benchmarks, then a task a shard."""

from __future__ import annotations

import time
from pathlib import Path

from megatron_snow.common.records import Manifest
from megatron_snow.config import Corpus
from megatron_snow.corpus.decontamination.search import HITS, NEEDLES, RUNS, decontaminate_shard, read_needles
from megatron_snow.corpus.outcome import REJECTS, gather_rejects
from megatron_snow.pipeline import INLINE, WORK, Execution, Stage, Task, run_stage, tasks_by_shard
from megatron_snow.tasks import benchmark_path


def decontaminate(corpus: Corpus, inputs: list[Path], output: Path, execution: Execution = INLINE) -> Manifest:
    """Drop documents that hold text of a benchmark; SHARD.hits.jsonl beside each shard names every hit."""
    started = time.monotonic()
    wanted, samples = corpus.decontamination, corpus.filters.rejects
    paths = tuple(benchmark_path(name) for name in wanted.benchmarks)
    reading = Stage(
        "decontaminate: needles", 3, read_needles, {"benchmarks": list(wanted.benchmarks), "ngram": wanted.ngram}, (NEEDLES, RUNS)
    )
    folder = output / WORK / "needles"
    run_stage(reading, [Task("needles", paths)], folder, Execution(explain=execution.explain))
    parameters = {"ngram": wanted.ngram, "samples": samples}
    stage = Stage("decontaminate", 3, decontaminate_shard, parameters, (".parquet", HITS, REJECTS))
    tasks = tasks_by_shard(inputs, also=[folder / f"needles{suffix}" for suffix in (NEEDLES, RUNS)])
    manifest = run_stage(stage, tasks, output, execution, started)
    gather_rejects(output, samples)
    return manifest
