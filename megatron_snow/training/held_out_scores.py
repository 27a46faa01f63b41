"""Checkpoints of a finished run scored on domains after the fact: the lines that the loop writes at the ends of phases."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_snow.checkpoint import Checkpoint, CheckpointStore
from megatron_snow.common.errors import UserError
from megatron_snow.config import Parallel, Recipe, Workspace
from megatron_snow.tokenizers import load_tokenizer
from megatron_snow.training.checks import check_datasets, check_evaluation, check_tokenizer
from megatron_snow.training.data import data_workspace, dataset_prefixes
from megatron_snow.training.phases import Plan


def with_domains(recipe: Recipe, domains: Mapping[str, str]) -> Recipe:
    """The recipe with further domains, laid out for the processes that are there: outside torchrun one holds the whole model."""
    evaluation = dataclasses.replace(recipe.evaluation, domains={**recipe.evaluation.domains, **domains})
    parallel = recipe.parallel if "WORLD_SIZE" in os.environ else Parallel()
    return dataclasses.replace(recipe, evaluation=evaluation, parallel=parallel)


def steps_to_score(recipe: Recipe, store: CheckpointStore, asked: Sequence[int]) -> list[int]:
    """The steps that are asked for, or the ends of phases that have a checkpoint, and step 0 (weights from elsewhere) where it has one.

    UserError where there is none.
    """
    there = store.steps()
    steps = sorted(set(asked)) or [step for step in (0, *(planned.last_step for planned in Plan(recipe).phases)) if step in there]
    missing = [step for step in steps if step not in there]
    if missing or not steps:
        what = f"no checkpoint of step {', '.join(map(str, missing))}" if missing else "no phase has ended"
        raise UserError(f"{store.root}: {what}; there are {', '.join(map(str, there)) or 'none'}; name others with --checkpoint STEP")
    return steps


def score_checkpoints(recipe: Recipe, workspace: Workspace, steps: Sequence[int], split: str = "held_out") -> Iterator[dict[str, Any]]:
    """A line (`held_out.record_of`) for each step, in their order; run by each rank. Everything but weights is checked first."""
    from megatron_snow.engine import Engine
    from megatron_snow.model import build_snowcoder
    from megatron_snow.training.held_out import evaluate_sets, read_sets, record_of

    data, store = data_workspace(recipe, workspace), CheckpointStore(workspace.checkpoints, keep=1)
    tokenizer = _checked(recipe, data, split)
    sets = read_sets(recipe.evaluation, recipe.model.seq_length, data, load_tokenizer(tokenizer), split)
    engine = Engine(recipe, build_snowcoder(recipe))
    for step in steps:
        checkpoint = store.at(step)
        engine.load(checkpoint.model, optimizer=False)
        phase, tokens = _place_of(checkpoint)
        yield record_of(phase, step, tokens, evaluate_sets(engine, sets, f"step {step}"))
    engine.close()


def _checked(recipe: Recipe, data: Workspace, split: str) -> Path:
    """The tokenizer's path; UserError where it, a domain or the split's tokens are missing or do not fit."""
    command = f"megatron-snow run-recipe --recipe RECIPE --output {data.root}"
    tokenizer = Path(recipe.tokenizer.model) if recipe.tokenizer.model else data.tokenizer_model
    check_tokenizer(tokenizer, [split], recipe, data, command)
    check_evaluation(recipe, data, command)
    if split != "held_out":
        if not dataset_prefixes(data.tokens(split)):
            raise UserError(
                f"--split {split}: {data.tokens(split)} has no tokens; corpus.{split}_share holds some out, `{command}` makes them"
            )
        check_datasets([split], recipe, data, command)
    return tokenizer


def _place_of(checkpoint: Checkpoint) -> tuple[str, int]:
    """(phase, tokens) of a checkpoint; one of step 0, weights from elsewhere, has neither."""
    return str(checkpoint.state.get("phase", "start")), int(checkpoint.state.get("tokens", 0))
