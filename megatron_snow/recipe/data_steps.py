"""The data wing's steps of a run: corpus, tokens, annotator, synthesis. Each returns one line of what came out."""

from __future__ import annotations

from collections import Counter

from megatron_snow.common.records import Manifest
from megatron_snow.corpus import stages as corpus
from megatron_snow.datasets.preprocess import tokenize_shards
from megatron_snow.pipeline import shards_in
from megatron_snow.recipe.context import Run


def _funnel(manifest: Manifest) -> str:
    counts = Counter(manifest.counts)
    kept, documents = counts["kept"], counts["documents"]
    dropped = {name.removeprefix("dropped:"): n for name, n in counts.items() if name.startswith("dropped:") and name.count(":") == 1}
    reasons = ", ".join(f"{name} {n:,}" for name, n in sorted(dropped.items(), key=lambda item: -item[1]) if n)
    return f"kept {kept:,} of {documents:,} documents, {counts['kept_bytes'] / 1e6:.1f} MB" + (f"; dropped: {reasons}" if reasons else "")


def collect(run: Run) -> str:
    return _funnel(corpus.collect(run.recipe.corpus, run.recipe.seed, run.workspace.corpus("collected"), run.recipe.workers))


def filter_documents(run: Run) -> str:
    inputs = shards_in(run.workspace.corpus("collected"))
    return _funnel(corpus.filter_documents(run.recipe.corpus, inputs, run.workspace.corpus("filtered"), run.recipe.workers))


def deduplicate(run: Run) -> str:
    inputs = shards_in(run.workspace.corpus("filtered"))
    return _funnel(corpus.deduplicate(run.recipe.corpus, inputs, run.workspace.corpus("deduplicated"), run.recipe.workers))


def decontaminate(run: Run) -> str:
    inputs = shards_in(run.workspace.corpus("deduplicated"))
    return _funnel(corpus.decontaminate(run.recipe.corpus, inputs, run.workspace.corpus("decontaminated"), run.recipe.workers))


def group(run: Run) -> str:
    inputs, workspace = shards_in(run.workspace.corpus("decontaminated")), run.workspace
    outputs = workspace.corpus("grouped"), workspace.corpus("held_out")
    return _funnel(corpus.group(run.recipe.corpus, run.recipe.seed, inputs, *outputs, run.recipe.workers))
