"""Rules that bind the keys of a recipe: each yields the key and one message with value and remedy."""

from __future__ import annotations

from collections.abc import Iterator

from megatron_snow.config.downstream_checks import check_downstream
from megatron_snow.config.layout_checks import check_layout
from megatron_snow.config.phase_checks import check_cursors, check_phase
from megatron_snow.config.schema import Corpus, Recipe, Training
from megatron_snow.config.workspace import benchmark_label

Problem = tuple[str, str]


def check_recipe(recipe: Recipe) -> Iterator[Problem]:
    """Every rule that the recipe breaks."""
    yield from check_layout(recipe)
    yield from check_corpus(recipe.corpus)
    yield from _check_tokenizer(recipe)
    yield from _check_numbers(recipe)
    yield from _check_saving(recipe.training)
    yield from _check_synthesis(recipe)
    yield from _check_benchmarks(recipe)
    yield from check_downstream(recipe)
    if not recipe.phases:
        yield "phases", "none given; a run needs at least one"
    names = [phase.name for phase in recipe.phases]
    if len(set(names)) < len(names):
        yield "phases", f"names {names} are not distinct"
    for phase in recipe.phases:
        yield from check_phase(phase, recipe.batch_size(phase) * recipe.model.seq_length)
    yield from check_cursors(recipe.phases)


def check_corpus(corpus: Corpus) -> Iterator[Problem]:
    """Every rule that the corpus section breaks; for tools that take it without a recipe."""
    near = corpus.near_duplicates
    if not 0 < near.threshold <= 1:
        yield "corpus.near_duplicates.threshold", f"{near.threshold} is not in (0, 1]"
    for key in ("ngram", "bands", "rows"):
        if getattr(near, key) < 1:
            yield f"corpus.near_duplicates.{key}", f"{getattr(near, key)} is below 1"
    if not 1 <= corpus.decontamination.ngram <= 64:
        yield "corpus.decontamination.ngram", f"{corpus.decontamination.ngram} is not 1 to 64 words"
    if not 0 <= corpus.held_out_share < 0.5:
        yield "corpus.held_out_share", f"{corpus.held_out_share} is not in [0, 0.5)"
    if not 0 <= corpus.test_share < 0.5:
        yield "corpus.test_share", f"{corpus.test_share} is not in [0, 0.5)"
    for key in ("max_language_share", "max_repository_share"):
        if not 0 < getattr(corpus, key) <= 1:
            yield f"corpus.{key}", f"{getattr(corpus, key)} is not in (0, 1]"
        elif getattr(corpus, key) < 1 and not corpus.max_bytes:
            yield f"corpus.{key}", f"{getattr(corpus, key)} is a share of corpus.max_bytes, which is not given"
    if not 0 <= corpus.header_share <= 1:
        yield "corpus.header_share", f"{corpus.header_share} is not in [0, 1]"
    if corpus.memory_bytes < 10_000_000:
        yield "corpus.memory_bytes", f"{corpus.memory_bytes} is below 10,000,000"
    if corpus.filters.rejects < 0:
        yield "corpus.filters.rejects", f"{corpus.filters.rejects} is below 0"
    if corpus.max_file_bytes < 1:
        yield "corpus.max_file_bytes", f"{corpus.max_file_bytes} is below 1"
    for number, source in enumerate(corpus.sources):
        if source.kind not in ("python", "debian") and not source.path:
            yield f"corpus.sources[{number}].path", f"missing; a source of kind {source.kind} needs one"


def _check_tokenizer(recipe: Recipe) -> Iterator[Problem]:
    if recipe.tokenizer.vocab_size < 300:
        yield "tokenizer.vocab_size", f"{recipe.tokenizer.vocab_size} is below 300; 256 bytes and the special tokens take the first"


def _check_saving(training: Training) -> Iterator[Problem]:
    interval, every = training.save_interval, training.keep_every
    if interval > 0 and every % interval:
        told = f"{every} is no multiple of training.save_interval {interval}: nothing is saved there"
        yield "training.keep_every", f"{told}; take {-(-every // interval) * interval}"
    if training.checkpoint_copy and "://" not in training.checkpoint_copy:
        yield "training.checkpoint_copy", f"{training.checkpoint_copy!r} is no URL; take file:///path, s3://bucket/run, ..."


# Section and key -> the least value that means something.
_LEAST: dict[str, dict[str, float]] = {
    "": {"workers": 1},
    "training": {"save_interval": 1, "keep_checkpoints": 1, "keep_every": 0},
    "tokens": {"max_group_tokens": 1},
    "annotator": {"documents_per_class": 1, "section_tokens": 8, "score_documents": 0, "select_tokens": 0},
    "synthesis": {"requests": 0, "seed_bytes": 1, "max_tokens": 1, "concurrency": 1, "temperature": 0},
    "evaluation": {"max_new_tokens": 1, "held_out_sequences": 0, "domain_sequences": 1, "timeout_seconds": 0.1},
}


def _check_numbers(recipe: Recipe) -> Iterator[Problem]:
    for section, keys in _LEAST.items():
        part = getattr(recipe, section) if section else recipe
        for key, least in keys.items():
            if getattr(part, key) < least:
                yield f"{section}.{key}".lstrip("."), f"{getattr(part, key)} is below {least}"


def check_makeable(recipe: Recipe) -> Iterator[Problem]:
    """Rules for a run that makes its datasets itself: what they need is given before phase 1 has run for weeks."""
    named = {blend.dataset for phase in recipe.phases for blend in phase.data}
    if named & {"selected", "synthetic"}:
        if recipe.annotator.select_tokens < 1:
            yield "annotator.select_tokens", "0; a phase reads the selected dataset: say how many top-ranked tokens it holds"
        if not recipe.annotator.positives:
            yield "annotator.positives", "none given; name repositories of good code, for example ['python:stdlib']"
    for phase in recipe.phases:
        for number, blend in enumerate(phase.data):
            if blend.dataset == "selected" and blend.tokens > recipe.annotator.select_tokens > 0:
                made = f"of which annotator.select_tokens makes {recipe.annotator.select_tokens:,}"
                yield f"phases.{phase.name}.data[{number}].tokens", f"{blend.tokens:,} different tokens of selected, {made}"
    if "synthetic" in named and recipe.synthesis.requests < 1:
        yield "synthesis.requests", "0; a phase reads the synthetic dataset: say how many seeds are rewritten"


def _check_synthesis(recipe: Recipe) -> Iterator[Problem]:
    shares = recipe.synthesis.languages
    if sum(shares.values()) > 1 + 1e-9 or any(share < 0 for share in shares.values()):
        yield "synthesis.languages", f"shares {dict(shares)} must be at least 0 and together at most 1"


def _check_benchmarks(recipe: Recipe) -> Iterator[Problem]:
    labels = [benchmark_label(name) for name in recipe.evaluation.benchmarks]
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        yield "evaluation.benchmarks", f"two are called {label}, and would write the same results; rename one file"
    if "documentation" in recipe.evaluation.domains:
        yield "evaluation.domains.documentation", "the name of what the corpus itself holds out of documentation; take another"
