"""A run, or one recipe trained in several layouts, drawn as one picture with its data.

    python -m benchmarks.training.curves phases dp2=runs/curves_cpu
    python -m benchmarks.training.curves layouts dp2=runs/curves_dp2 tp2=runs/curves_tp2 pp2=runs/curves_pp2

writes docs/training_run/NAME.svg and NAME.csv (a row a step: tokens, phase, rate, each layout's loss) and prints how
far each layout's losses are from the first one's.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import atomic_file
from megatron_snow.common.records import read_json_lines
from megatron_snow.report.plots import shade_phases, svg_of

OUTPUT = Path(__file__).parents[2] / "docs" / "training_run"
_COLOURS = ("#1f5fa8", "#b3401f", "#2e7d32")
_MILLION = 1e6

Lines = Sequence[dict[str, Any]]


def read_runs(arguments: Sequence[str]) -> dict[str, Lines]:
    """NAME=FOLDER of each layout to the lines of its metrics; UserError where they are not runs of one recipe to the same step."""
    runs: dict[str, Lines] = {}
    for argument in arguments:
        name, _, folder = argument.partition("=")
        runs[name] = list(read_json_lines(Path(folder) / "metrics.jsonl"))
        first = next(iter(runs.values()))
        if [_place(line) for line in runs[name]] != [_place(line) for line in first]:
            raise UserError(f"{folder}: {len(runs[name])} steps that are not those of {arguments[0]} ({len(first)}); train one recipe")
    return runs


def _place(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return line["step"], line["tokens"], line["phase"], line["lr"]


def write_data(runs: Mapping[str, Lines], path: Path) -> None:
    """The losses of all layouts, a row a step."""
    with atomic_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "tokens", "phase", "lr", *runs])
        for lines in zip(*runs.values()):
            writer.writerow([*_place(lines[0]), *(f"{line['loss']:.6f}" for line in lines)])


def draw(runs: Mapping[str, Lines]) -> Figure:
    """Loss, each other layout's difference to the first one's, and learning rate over tokens."""
    first, *others = runs
    heights = (3, *[1.3] * bool(others), 1.3)
    figure = Figure(figsize=(9, 1 + sum(heights)), layout="constrained")
    loss, *middle, rate = axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    tokens = [line["tokens"] / _MILLION for line in runs[first]]
    shade_phases(axes, runs[first])
    for (name, lines), colour in zip(runs.items(), _COLOURS):
        loss.plot(tokens, [line["loss"] for line in lines], color=colour, linewidth=1, label=name, alpha=0.8)
        for axis in middle if name != first else ():
            axis.plot(tokens, differences(lines, runs[first]), color=colour, linewidth=0.8, label=f"{name} - {first}")
    rate.plot(tokens, [line["lr"] for line in runs[first]], color=_COLOURS[0], linewidth=1)
    loss.set_ylabel("loss (nats a token)")
    rate.set_ylabel("learning rate")
    rate.set_xlabel("tokens (millions)")
    for axis in middle:
        axis.set_ylabel("difference")
    for axis in (loss, *middle):
        axis.legend(frameon=False, fontsize=8)
    return figure


def differences(lines: Lines, first: Lines) -> list[float]:
    """Loss minus the first layout's, step by step."""
    return [line["loss"] - other["loss"] for line, other in zip(lines, first)]


def main(picture: str, arguments: Sequence[str]) -> None:
    runs = read_runs(arguments)
    OUTPUT.mkdir(exist_ok=True)
    write_data(runs, OUTPUT / f"{picture}.csv")
    with atomic_file(OUTPUT / f"{picture}.svg") as file:
        file.write(svg_of(draw(runs), "Loss of each layout and learning rate over tokens"))
    first = next(iter(runs.values()))
    for name, lines in runs.items():
        apart = [abs(value) for value in differences(lines, first)]
        print(f"{name}: last loss {lines[-1]['loss']:.4f}; from the first layout's: mean {fmean(apart):.5f}, largest {max(apart):.5f}")


if __name__ == "__main__":
    if not sys.argv[2:]:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
