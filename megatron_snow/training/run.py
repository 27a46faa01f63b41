"""A run before it starts: recipe, folders, plan, how far it is; checked without torch, in a second."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.checkpoint.copying import open_url
from megatron_snow.config import Recipe, Workspace
from megatron_snow.datasets.mixture_table import describe_mixture
from megatron_snow.training.checks import check_compiler, check_datasets, check_evaluation, check_tokenizer
from megatron_snow.training.data import data_workspace, open_phase
from megatron_snow.training.phases import Plan
from megatron_snow.training.planning.room import check_room
from megatron_snow.training.resume import check_unchanged


@dataclass(frozen=True)
class Run:
    """All that training needs to know."""

    recipe: Recipe
    workspace: Workspace  # metrics and checkpoints are written here
    data: Workspace  # datasets and tokenizer are read here
    tokenizer_model: Path
    plan: Plan
    done: int  # steps of the newest checkpoint
    last_step: int  # to be done now
    mixtures: tuple[str, ...] = ()  # what the phases that are still to be done read of each source, as text

    @property
    def store(self) -> CheckpointStore:
        return CheckpointStore(self.workspace.checkpoints, self.recipe.training.keep_checkpoints)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to be done."""
        return self.done >= self.last_step

    def __str__(self) -> str:
        """One line; its first word is the number of processes (examples/pretrain_snowcoder.sh reads it)."""
        plan, processes = self.plan, self.recipe.parallel.processes
        phases = ", ".join(planned.phase.name for planned in plan.phases)
        work = f"{plan.steps} steps, {plan.step(plan.steps).total_tokens:,} tokens in {phases}"
        left = ", nothing left to do" if self.is_done else ""  # examples/slurm/pretrain.sbatch looks for it
        return f"{processes} process{'es' * (processes > 1)}: {work}; {self.done} steps done{left}; into {self.workspace.root}"


def prepare(recipe: Recipe, workspace: Workspace, *, until_phase: str | None = None, recipe_file: str = "RECIPE") -> Run:
    """Check recipe and data of the steps that are still to be done; UserError with one message and its remedy."""
    plan = Plan(recipe)
    last_step = plan.last_step(until_phase)
    data = data_workspace(recipe, workspace)
    command = f"megatron-snow run-recipe --recipe {recipe_file} --output {data.root}"
    tokenizer = Path(recipe.tokenizer.model) if recipe.tokenizer.model else data.tokenizer_model
    run = Run(recipe, workspace, data, tokenizer, plan, 0, last_step)
    newest = run.store.newest()
    done = newest.step if newest else 0
    mixtures: tuple[str, ...] = ()
    if done < last_step:
        # Datasets first: where nothing was made yet, its message says more than the tokenizer's.
        phases = plan.between(done + 1, last_step)
        datasets = dict.fromkeys(blend.dataset for planned in phases for blend in planned.phase.data)
        check_datasets(datasets, recipe, data, command)
        check_tokenizer(tokenizer, [*datasets, "held_out"], recipe, data, command)
        mixtures = tuple(describe_mixture(open_phase(planned, recipe, data)) for planned in phases)
        check_evaluation(recipe, data, command)
        check_room(recipe)
        check_compiler(recipe)
        if recipe.training.checkpoint_copy:
            open_url(recipe.training.checkpoint_copy)
    if newest:  # also when nothing is left to do: a finished run of another recipe is not this recipe's
        check_unchanged(recipe, newest, data, tokenizer)
    return Run(recipe, workspace, data, tokenizer, plan, done, last_step, mixtures)
