"""The order of a run: each phase is preceded by the steps that make its datasets, then come conversion, scores and report.

The paper's order falls out: clean and group the corpus, phase 1, annotate, phase 2, synthesize,
phase 3 (paper, Figure 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from megatron_snow.config import Recipe, benchmark_label
from megatron_snow.recipe import data_steps, model_steps
from megatron_snow.recipe.context import Run

Action = Callable[[Run], str]  # returns one line that says what came out


@dataclass(frozen=True)
class Step:
    """One line of a run."""

    name: str
    title: str
    action: Action


_CORPUS = (
    Step("collect", "Collect repositories (paper 2.1)", data_steps.collect),
    Step("filter", "Filter by a profile of rules", data_steps.filter_documents),
    Step("deduplicate", "Remove exact and near duplicates", data_steps.deduplicate),
    Step("redact", "Replace secrets, e-mail and IP addresses", data_steps.redact),
    Step("decontaminate", "Remove benchmark text", data_steps.decontaminate),
    Step("group", "Group by language, then repository (paper 3.1)", data_steps.group),
    Step("train-tokenizer", "Train the tokenizer", data_steps.train_tokenizer),
    Step("tokenize", "Write indexed token datasets", data_steps.tokenize_corpus),
)
_SELECTED = (
    Step("annotate", "Train the quality annotator, score, select (paper 2.3)", data_steps.annotate),
    Step("tokenize-selected", "Write the top-ranked tokens", data_steps.tokenize_selected),
)
_SYNTHETIC = (
    Step("synthesize", "Rewrite seeds with an LLM (paper 2.4)", data_steps.synthesize),
    Step("tokenize-synthetic", "Write the synthetic tokens", data_steps.tokenize_synthetic),
)
# Seeds are the top-scored documents, so synthesis comes after the annotator.
_MAKERS = {"general": _CORPUS, "selected": (*_CORPUS, *_SELECTED), "synthetic": (*_CORPUS, *_SELECTED, *_SYNTHETIC)}


# The sections of a recipe that say what is in a dataset.
_SECTIONS = {"general": ("corpus", "tokenizer"), "selected": ("annotator",), "synthetic": ("synthesis",)}


def makers(datasets: Iterable[str]) -> set[str]:
    """Names of the steps that make these datasets."""
    return {step.name for dataset in datasets for step in _MAKERS.get(dataset, ())}


def sections(datasets: Iterable[str]) -> list[str]:
    """The sections of a recipe on which these datasets depend."""
    return [section for dataset in datasets for section in _SECTIONS.get(dataset, ())]


def plan(recipe: Recipe) -> list[Step]:
    """The steps of a run, each once. A dataset that is a path is somebody else's and is not made."""
    steps: dict[str, Step] = {}
    for phase in recipe.phases:
        for blend in phase.data:
            steps |= {step.name: step for step in _MAKERS.get(blend.dataset, ()) if step.name not in steps}
        name = f"phase-{phase.name}"
        steps[name] = Step(name, f"Pretrain: phase {phase.name} (paper 2)", partial(model_steps.train_phase, phase=phase))
    steps["convert"] = Step("convert", "Convert to Hugging Face", model_steps.convert)
    for benchmark in recipe.evaluation.benchmarks:
        name = f"evaluate-{benchmark_label(benchmark)}"
        steps[name] = Step(name, f"Score {benchmark} (paper 3.3)", partial(model_steps.evaluate, benchmark=benchmark))
    steps["report"] = Step("report", "Write the report", model_steps.report)
    return list(steps.values())
