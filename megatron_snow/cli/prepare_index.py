"""Build the sample indices of a recipe's phases ahead of time, so that no rank of the training waits for them.

    megatron-snow prepare-index --recipe examples/recipes/tiny_cpu.yaml
    megatron-snow prepare-index --recipe examples/recipes/snowcoder_1b3.yaml --phase continued --explain

An index lies in the folder `index` beside its dataset, or in the user's cache where that cannot be
written; its name says what it depends on, so training finds it. Needs the datasets, no torch and no GPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from megatron_snow.cli.arguments import add_phase_argument, add_recipe_arguments, phases_of, recipe_of
from megatron_snow.common.explain import WouldRun, is_explaining

if TYPE_CHECKING:
    from megatron_snow.datasets import PhaseData

HELP = "build the sample indices of all phases ahead of time"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_recipe_arguments(parser)
    add_phase_argument(parser)
    parser.add_argument("--explain", action="store_true", help="say which indices would be built, and build none")


def run(args: argparse.Namespace) -> None:
    """Build what is not there; print a line an index."""
    from megatron_snow.config import FillInMiddle
    from megatron_snow.datasets import PhaseData
    from megatron_snow.training import Plan
    from megatron_snow.training.data import cursors_of, data_workspace

    recipe, workspace = recipe_of(args)
    names = phases_of(args, recipe)
    started, workspace = time.monotonic(), data_workspace(recipe, workspace)
    for planned in Plan(recipe).phases:
        if planned.phase.name in names:
            print(f"phase {planned.phase.name}")
            # What samples are filled up with, or permuted into, takes the tokenizer; where they lie does not.
            phase, cursors = replace(planned.phase, fim=FillInMiddle()), cursors_of(planned, recipe, workspace)
            data = PhaseData(
                phase, workspace=workspace, seq_length=planned.seq_length, samples=planned.samples, seed=recipe.seed, cursors=cursors
            )
            for line in _indices(data):
                print(f"  {line}", flush=True)
    if not is_explaining():
        print(f"{time.monotonic() - started:.1f} s")


def _indices(data: PhaseData) -> Iterator[str]:
    """Open, and so build, the index of each source in each of its passes that the phase reads; a line about each."""
    for source, passes, total in zip(data.sources, data.passes, data.blend.totals().tolist()):
        # The number of a round, and of its first sample in the phase.
        number, before = passes.place(0) if passes.first else (0, 0)
        first = -before
        while first < total:
            started = time.monotonic()
            try:
                index = passes.index(number)
            except WouldRun as reason:
                yield str(reason)
                if data.phase.packing == "best_fit":  # only its index says how many samples a round has
                    break
            else:
                done = f"built in {time.monotonic() - started:.1f} s" if index.built else "found"
                padding = f", {index.padding_share:.2%} padding" if data.phase.packing == "best_fit" else ""
                size = index.path.stat().st_size / 1e6
                yield f"{source.name}, round {number}: {len(index):,} samples{padding}, {done}: {index.path} ({size:,.1f} MB)"
            first, number = first + passes.size(number), number + 1
