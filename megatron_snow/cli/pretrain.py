"""Train the phases of a recipe; the same command again goes on from the newest whole checkpoint.

    megatron-snow pretrain --recipe examples/recipes/tiny_cpu.yaml
    torchrun --nproc-per-node 2 -m megatron_snow pretrain --recipe examples/recipes/tiny_cpu.yaml

Each rank runs this; examples/pretrain_snowcoder.sh starts the ranks. The output folder gets
metrics.jsonl, held_out.jsonl, tensorboard/ and checkpoints/; datasets are read there or in the recipe's workspace.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os

from megatron_snow.cli.arguments import add_recipe_arguments, recipe_of
from megatron_snow.common.errors import UserError, explain_os_error
from megatron_snow.common.processes import die_with_parent
from megatron_snow.config import Recipe, check_recipe
from megatron_snow.training import Run, prepare
from megatron_snow.training.hosts import check_machines, lost_peer, machines
from megatron_snow.training.speaking import fall_silent, speaks_for_machine
from megatron_snow.training.telemetry_options import Monitoring, check_monitoring, step_range

HELP = "train the phases of a recipe"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_recipe_arguments(parser)
    parser.add_argument("--until-phase", metavar="NAME", help="stop at the end of this phase")
    parser.add_argument("--profile", metavar="FIRST-LAST", help="a trace of these steps by torch's profiler, a rank, into DIR/profile/")
    parser.add_argument("--memory-snapshot", metavar="FIRST-LAST", help="what these steps allocate on each GPU, into DIR/profile/")
    parser.add_argument("--wandb", metavar="PROJECT", help="send the metrics to this project of Weights & Biases too")
    parser.add_argument("--check", action="store_true", help="check recipe and data, print one line and what each phase reads, and exit")
    parser.add_argument("--processes", action="store_true", help="print how many processes the recipe wants, and exit")


def run(arguments: argparse.Namespace) -> int:
    """Check, then train or say that nothing is left to do; each rank runs this."""
    if "TORCHELASTIC_RUN_ID" in os.environ:  # without torchrun a rank would train on, unseen, and hold the folder
        die_with_parent()
    if not speaks_for_machine():
        logging.getLogger("megatron_snow").setLevel(logging.ERROR)
    if arguments.processes:
        print(recipe_of(arguments)[0].parallel.processes)
        return 0
    try:
        prepared = _prepare_together(arguments)
    except UserError:
        if speaks_for_machine():
            raise
        fall_silent()
    if os.environ.get("RANK", "0") == "0":
        for told in (*([prepared] if arguments.check else []), *prepared.mixtures):
            print(told, flush=True)
    if arguments.check:
        return 0
    last = prepared.done
    if not prepared.is_done:
        last = _train(prepared, _monitoring(arguments))
    elif prepared.recipe.evaluation.downstream.enabled and os.environ.get("RANK", "0") == "0":
        from megatron_snow.training.downstream import evaluate_undone

        evaluate_undone(prepared, arguments.wandb)
    if os.environ.get("RANK", "0") == "0":
        print(_result(prepared, last), flush=True)
    return 0


def _train(prepared: Run, monitoring: Monitoring) -> int:
    from megatron_snow.training.pretrain import pretrain_run

    try:
        return pretrain_run(prepared, monitoring)
    except RuntimeError as error:
        if told := lost_peer(error):
            raise UserError(told) from error
        raise


def _prepare_together(arguments: argparse.Namespace) -> Run:
    """`_prepare`; a mistake that one of several machines finds is raised on all."""
    if machines() == 1:
        return _prepare(arguments)
    try:
        prepared = _prepare(arguments)
    except (UserError, OSError) as error:
        check_machines(None, (explain_os_error(error) if isinstance(error, OSError) else None) or str(error))
        raise
    check_machines(prepared, None)
    return prepared


def _prepare(arguments: argparse.Namespace) -> Run:
    recipe, workspace = recipe_of(arguments)
    if not arguments.check:
        recipe = _for_processes(recipe, int(os.environ.get("WORLD_SIZE", "1")))
    prepared = prepare(recipe, workspace, until_phase=arguments.until_phase, recipe_file=arguments.recipe)
    check_monitoring(_monitoring(arguments), prepared)
    return prepared


def _monitoring(arguments: argparse.Namespace) -> Monitoring:
    profile, memory = step_range("--profile", arguments.profile), step_range("--memory-snapshot", arguments.memory_snapshot)
    return Monitoring(profile, memory, arguments.wandb)


def _for_processes(recipe: Recipe, processes: int) -> Recipe:
    """The recipe with as many processes as were started; data parallelism takes what is left of them."""
    if processes == recipe.parallel.processes:
        return recipe
    changed = dataclasses.replace(recipe, parallel=dataclasses.replace(recipe.parallel, processes=processes))
    if problems := [f"{key}: {message}" for key, message in check_recipe(changed)]:
        told = f"{processes} processes were started, the recipe wants {recipe.parallel.processes}"
        remedy = f"torchrun --nproc-per-node {recipe.parallel.processes}, or examples/pretrain_snowcoder.sh"
        raise UserError("\n  ".join([f"{told}: {remedy}", *problems]))
    return changed


def _result(prepared: Run, last: int) -> str:
    if prepared.is_done:
        return f"nothing to do: step {prepared.done} of {prepared.plan.steps} is done; {prepared.workspace.checkpoints}"
    if last < prepared.last_step:
        return f"stopped after step {last} of {prepared.plan.steps}, saved; the same command goes on: {prepared.workspace.root}"
    return f"done: step {last} of {prepared.plan.steps}; {prepared.store.folder(last)}"
