"""The recipe: one YAML file describes a whole run (DESIGN 5). Dataclasses, loading, checks."""

from megatron_snow.config.checks import check_corpus, check_makeable, check_recipe
from megatron_snow.config.loading import load_recipe, recipe_to_dict, save_recipe
from megatron_snow.config.schema import (
    Annotator,
    Blend,
    Corpus,
    Curve,
    Decontamination,
    Evaluation,
    Filters,
    Model,
    NearDuplicates,
    Optimizer,
    Parallel,
    Phase,
    Recipe,
    Redaction,
    Source,
    Synthesis,
    Tokenizer,
    Training,
)
from megatron_snow.config.workspace import Workspace, benchmark_label, file_name_of

__all__ = [
    "Annotator",
    "Blend",
    "Corpus",
    "Curve",
    "Decontamination",
    "Evaluation",
    "Filters",
    "Model",
    "NearDuplicates",
    "Optimizer",
    "Parallel",
    "Phase",
    "Recipe",
    "Redaction",
    "Source",
    "Synthesis",
    "Tokenizer",
    "Training",
    "Workspace",
    "benchmark_label",
    "check_corpus",
    "check_makeable", "check_recipe",
    "file_name_of",
    "load_recipe",
    "recipe_to_dict",
    "save_recipe",
]  # fmt: skip
