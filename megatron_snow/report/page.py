"""Fill the page. Everything it needs is inside it: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from megatron_snow import __version__
from megatron_snow.common.divergence import Parting, Rise, mean_loss, newest_scores, partings, rises
from megatron_snow.common.files import atomic_file
from megatron_snow.config import Workspace
from megatron_snow.report.domains import domain_rows, notes
from megatron_snow.report.figures import Figures, read_figures
from megatron_snow.report.plots import training_plot


def write_report(workspace: Workspace, output: Path) -> Path:
    """Write the report of a run to `output` and return it."""
    figures = read_figures(workspace)
    diverging = (rises(figures.metrics), partings(figures.held_out_points, figures.downstream))
    environment = Environment(
        loader=PackageLoader("megatron_snow.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"thousands": lambda n: f"{n:,}", "share": _share, "megabytes": lambda n: f"{n / 1e6:,.1f} MB"}
    page = environment.get_template("page.html.j2").render(
        figures=figures,
        version=__version__,
        plot=_plot(figures, *diverging),
        rises=diverging[0],
        partings=diverging[1],
        downstream=_downstream(figures),
        tiles=_tiles(figures),
        mix=_mix(figures),
        held_out=_held_out(figures),
        domains=domain_rows(figures.held_out),
        domain_notes=notes(figures.held_out),
    )
    with atomic_file(output) as file:
        file.write(page)
    return output


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _plot(figures: Figures, risen: Sequence[Rise], parted: Sequence[Parting]) -> str:
    return training_plot(figures.metrics, figures.held_out_points, figures.downstream, risen, parted) if figures.metrics else ""


def _tiles(figures: Figures) -> list[tuple[str, str]]:
    """The few numbers a reader looks for first."""
    tiles = []
    if figures.funnel:
        tiles.append((f"{figures.funnel[-1].kept:,}", "documents kept"))
    if "general" in figures.tokens:
        tiles.append((f"{sum(figures.tokens['general'].values()) / 1e6:.1f} M", "tokens in the corpus"))
    if figures.metrics:
        last = figures.metrics[-1]
        tiles += [(f"{last['tokens'] / 1e6:.2f} M", "tokens trained"), (f"{last['loss']:.3f}", f"loss at step {last['step']:,}")]
    for score in figures.scores:
        value = f"{100 * score['pass_at_1']:.1f} %" if score["status"] == "done" else "not run"
        tiles.append((value, f"{score['benchmark']} pass@1"))
    return tiles


def _mix(figures: Figures) -> list[tuple[str, dict[str, float]]]:
    """(language, share of each dataset's tokens), largest in the corpus first."""
    totals = {dataset: sum(tokens.values()) for dataset, tokens in figures.tokens.items()}
    languages = sorted(
        {language for tokens in figures.tokens.values() for language in tokens},
        key=lambda language: -figures.tokens.get("general", {}).get(language, 0),
    )
    return [
        (language, {dataset: tokens.get(language, 0) / (totals[dataset] or 1) for dataset, tokens in figures.tokens.items()})
        for language in languages
    ]


def _held_out(figures: Figures) -> Mapping[str, Any]:
    """Held-out loss per language (rows) and phase (columns), and bits per byte of the benchmarks."""
    languages = sorted({language for record in figures.held_out for language in record["losses"]})
    benchmarks = sorted({name for record in figures.held_out for name in record["bits_per_byte"]})
    return {
        "phases": [record["phase"] for record in figures.held_out],
        "losses": [(language, [record["losses"].get(language) for record in figures.held_out]) for language in languages],
        "bits": [(name, [record["bits_per_byte"].get(name) for record in figures.held_out]) for name in benchmarks],
    }


def _downstream(figures: Figures) -> Mapping[str, Any]:
    """Steps (rows) and benchmarks (columns) of what was evaluated while training; in place of a score why there is none."""
    losses = {record["step"]: mean_loss(record) for record in figures.held_out_points}
    cells = {(record["step"], record["benchmark"]): record["status"] for record in figures.downstream}
    for records in newest_scores(figures.downstream).values():
        cells |= {(record["step"], record["benchmark"]): f"{100 * record['pass_at_1']:.1f} % of {record['n']}" for record in records}
    benchmarks = sorted({benchmark for _, benchmark in cells})
    steps = {record["step"]: record for record in sorted(figures.downstream, key=lambda record: record["step"])}
    rows = [
        {key: record[key] for key in ("step", "tokens", "phase")}
        | {"loss": losses.get(step), "scores": [cells.get((step, benchmark), "-") for benchmark in benchmarks]}
        for step, record in steps.items()
    ]
    return {"benchmarks": benchmarks, "rows": rows}
