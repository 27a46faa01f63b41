"""The deduplication stage: signatures, clusters, survivors."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from megatron_snow.common.records import Manifest
from megatron_snow.config import Corpus
from megatron_snow.corpus.deduplication.passes import cluster_documents, keep_survivors, sign_shard
from megatron_snow.pipeline import INLINE, WORK, Execution, Stage, Task, run_stage, tasks_by_shard


def deduplicate(corpus: Corpus, inputs: list[Path], output: Path, execution: Execution = INLINE) -> Manifest:
    """Keep one document of each set of equal or nearly equal ones; `cluster_id` tells which set it was."""
    started = time.monotonic()
    work, near = output / WORK, corpus.near_duplicates
    shape = {"ngram": near.ngram, "bands": near.bands, "rows": near.rows}
    signing = Stage("deduplicate: sign", 1, sign_shard, shape)
    run_stage(signing, tasks_by_shard(inputs), work / "signatures", execution)
    signed = [work / "signatures" / path.name for path in inputs]
    clustering = Stage("deduplicate: cluster", 1, cluster_documents, {**shape, "threshold": near.threshold})
    run_stage(clustering, [Task("clusters", (*signed, *inputs))], work / "clusters")
    keeping = Stage("deduplicate", 1, keep_survivors, asdict(near))
    tasks = tasks_by_shard(inputs, also=[work / "clusters" / "clusters.parquet"])
    return run_stage(keeping, tasks, output, execution, started)
