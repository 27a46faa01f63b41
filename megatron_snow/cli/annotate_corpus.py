"""Train the quality annotator, score the grouped corpus, select its top-ranked tokens (paper 2.3).

    megatron-snow annotate-corpus --recipe examples/recipes/tiny_cpu.yaml

Needs the stages up to group-corpus and a tokenizer (train-tokenizer). Writes annotator/head, annotator/scores and
annotator/selected below the run's folder; what is done already is not done again.
"""

from __future__ import annotations

import argparse

from megatron_snow.cli.arguments import add_recipe_arguments, recipe_of

HELP = "train the quality annotator, score, select the top tokens"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--recipe, --set, --output."""
    add_recipe_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """The three stages in order, a line for each."""
    from megatron_snow.annotator import score_documents, select_top, train_annotator

    recipe, workspace = recipe_of(arguments)
    head = train_annotator(recipe, workspace).counts
    print(
        f"head: {head['positives']} positives, {head['negatives']} negatives, "
        f"held-out AUC {head['held_out_auc_permille'] / 1000:.3f} ({workspace.annotator('head') / 'head.json'})"
    )
    scores = score_documents(recipe, workspace).counts
    print(f"scores: {scores['documents']:,} documents, {scores['sections']:,} sections")
    selected = select_top(recipe, workspace).counts
    print(
        f"selected: {selected['documents']:,} of {selected['documents_ranked']:,} documents, {selected['tokens']:,} of "
        f"{recipe.annotator.select_tokens:,} tokens ({workspace.annotator('selected')})"
    )
