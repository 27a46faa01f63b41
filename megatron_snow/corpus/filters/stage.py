"""The filter stage."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from megatron_snow.common.records import Manifest
from megatron_snow.config import Corpus
from megatron_snow.corpus.filters.rules import filter_shard
from megatron_snow.pipeline import INLINE, Execution, Stage, run_stage, tasks_by_shard


def filter_documents(corpus: Corpus, inputs: list[Path], output: Path, execution: Execution = INLINE) -> Manifest:
    """Drop what StarCoder's rules drop."""
    stage = Stage("filter", 1, filter_shard, asdict(corpus.filters))
    return run_stage(stage, tasks_by_shard(inputs), output, execution)
