"""The filter stage: documents that no rule of a profile drops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_snow.common.records import Manifest
from megatron_snow.config import Corpus
from megatron_snow.corpus.filters.loading import load_profile
from megatron_snow.corpus.filters.profile import profile_from
from megatron_snow.corpus.filters.rules import verdicts
from megatron_snow.corpus.outcome import REJECTS, Outcome, gather_rejects
from megatron_snow.pipeline import INLINE, Execution, Stage, batches_of, run_stage, schema_of, tasks_by_shard


def filter_documents(corpus: Corpus, inputs: list[Path], output: Path, execution: Execution = INLINE) -> Manifest:
    """Drop what the profile's rules drop; a sample of it is in OUTPUT/rejects/RULE.jsonl."""
    profile = load_profile(corpus.filters.profile, corpus.filters.thresholds)
    parameters = {"profile": profile.record(), "samples": corpus.filters.rejects}
    stage = Stage("filter", 2, filter_shard, parameters, (".parquet", REJECTS))
    manifest = run_stage(stage, tasks_by_shard(inputs), output, execution)
    gather_rejects(output, corpus.filters.rejects)
    return manifest


def filter_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: the documents of a shard that no rule drops."""
    profile = profile_from(parameters["profile"])
    with Outcome(prefix, schema_of(inputs[0]), parameters["samples"]) as outcome:
        for batch in batches_of(inputs[0], piece=parameters.get("piece")):
            outcome.add(batch, verdicts(profile, batch))
    return outcome.tally
