"""The data wing's steps of a run: corpus, tokens, annotator, synthesis. Each returns one line of what came out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from megatron_snow import datasets
from megatron_snow.common.records import Manifest, read_manifest
from megatron_snow.common.splits import finer_splits
from megatron_snow.corpus import stages as corpus
from megatron_snow.pipeline import shards_in
from megatron_snow.recipe.context import Run
from megatron_snow.tokenizers import load_tokenizer


def _funnel(manifest: Manifest) -> str:
    counts = Counter(manifest.counts)
    kept, documents = counts["kept"], counts["documents"]
    dropped = {name.removeprefix("dropped:"): n for name, n in counts.items() if name.startswith("dropped:") and name.count(":") == 1}
    reasons = ", ".join(f"{name} {n:,}" for name, n in sorted(dropped.items(), key=lambda item: -item[1]) if n)
    return f"kept {kept:,} of {documents:,} documents, {counts['kept_bytes'] / 1e6:.1f} MB" + (f"; dropped: {reasons}" if reasons else "")


def collect(run: Run) -> str:
    return _funnel(corpus.collect(run.recipe.corpus, run.recipe.seed, run.workspace.corpus("collected"), run.execution))


def filter_documents(run: Run) -> str:
    inputs = shards_in(run.workspace.corpus("collected"))
    return _funnel(corpus.filter_documents(run.recipe.corpus, inputs, run.workspace.corpus("filtered"), run.execution))


def deduplicate(run: Run) -> str:
    inputs = shards_in(run.workspace.corpus("filtered"))
    return _funnel(corpus.deduplicate(run.recipe.corpus, inputs, run.workspace.corpus("deduplicated"), run.execution))


def redact(run: Run) -> str:
    inputs = shards_in(run.workspace.corpus("deduplicated"))
    counts = Counter(corpus.redact(run.recipe.corpus, inputs, run.workspace.corpus("redacted"), run.execution).counts)
    kinds = ", ".join(
        f"{key.removeprefix('redacted:')} {n:,}" for key, n in counts.items() if key.startswith("redacted:") and key.count(":") == 1
    )
    return f"{counts['redacted_documents']:,} of {counts['documents']:,} documents" + (f": {kinds}" if kinds else "")


def decontaminate(run: Run) -> str:
    inputs = shards_in(run.workspace.corpus("redacted"))
    return _funnel(corpus.decontaminate(run.recipe.corpus, inputs, run.workspace.corpus("decontaminated"), run.execution))


def group(run: Run) -> str:
    inputs, workspace = shards_in(run.workspace.corpus("decontaminated")), run.workspace
    outputs = workspace.corpus("grouped"), workspace.corpus("held_out")
    line = _funnel(corpus.group(run.recipe.corpus, run.recipe.seed, inputs, *outputs, run.execution, workspace.corpus("test")))
    for split, said in (("held_out", "held out"), ("test", "for the test")):
        manifest = read_manifest(workspace.corpus(split))
        if manifest is not None:
            line += "; ".join([f"; {said} {manifest.counts.get('kept', 0):,} documents", *finer_splits(manifest.counts)])
    return line


def train_tokenizer(run: Run) -> str:
    """Train the recipe's tokenizer, or take the one that it names."""
    settings, workspace = run.recipe.tokenizer, run.workspace
    if settings.model:
        size = load_tokenizer(Path(settings.model), settings.vocab_size).vocab_size
        return f"{settings.model}: {size:,} pieces, as the recipe names it"
    inputs = shards_in(workspace.corpus("grouped"))
    manifest = datasets.train_tokenizer(
        inputs,
        workspace.tokenizer_folder,
        vocab_size=settings.vocab_size,
        train_bytes=settings.train_bytes,
        seed=run.recipe.seed,
        kind=settings.kind,
    )
    return f"{settings.vocab_size:,} pieces from {manifest.counts['bytes'] / 1e6:.1f} MB"


def _tokenize(run: Run, folder: Path, dataset: str) -> str:
    """Grouped shards to tokens/DATASET. A folder without shards gives an empty dataset, which its manifest says."""
    inputs = sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))
    model = run.workspace.tokenizer_model if not run.recipe.tokenizer.model else Path(run.recipe.tokenizer.model)
    counts = datasets.tokenize_shards(inputs, model, run.workspace.tokens(dataset), run.execution, run.recipe.tokens).counts
    tokens, size = counts.get("tokens", 0), counts.get("bytes", 0)
    return f"{dataset}: {tokens:,} tokens" + (f", {size / tokens:.2f} bytes a token" if tokens else "")


def tokenize_corpus(run: Run) -> str:
    parts = run.workspace.tokenized_stages().items()
    return "; ".join(_tokenize(run, run.workspace.corpus(stage), dataset) for stage, dataset in parts)


def annotate(run: Run) -> str:
    """Train the head, score documents, select the top (paper 2.3)."""
    from megatron_snow import annotator  # torch and transformers: only where a neural model works

    head = annotator.train_annotator(run.recipe, run.workspace).counts
    scored = annotator.score_documents(run.recipe, run.workspace).counts
    selected = annotator.select_top(run.recipe, run.workspace).counts
    return (
        f"AUC {head['held_out_auc_permille'] / 1000:.3f} on held-out documents; scored {scored['documents']:,}; "
        f"selected {selected['documents']:,} documents, {selected['tokens']:,} tokens"
    )


def tokenize_selected(run: Run) -> str:
    return _tokenize(run, run.workspace.annotator("selected"), "selected")


def synthesize(run: Run) -> str:
    """Ask the LLM; the answers that pass become documents (paper 2.4)."""
    from megatron_snow.synthesis import synthesize_documents

    counts = Counter(synthesize_documents(run.recipe, run.workspace).counts)
    line = f"accepted {counts['accepted']} of {counts['requested']} answers, {counts['completion_tokens']:,} tokens generated"
    return line if counts["accepted"] else f"{line}; phases that name the synthetic dataset run on their other datasets"


def tokenize_synthetic(run: Run) -> str:
    return _tokenize(run, run.workspace.synthesis("documents"), "synthetic")
