"""Fill the page. Everything it needs is inside it: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from megatron_snow import __version__
from megatron_snow.common.files import atomic_file
from megatron_snow.config import Workspace
from megatron_snow.report.domains import domain_rows, notes
from megatron_snow.report.figures import Figures, read_figures
from megatron_snow.report.plots import training_plot


def write_report(workspace: Workspace, output: Path) -> Path:
    """Write the report of a run to `output` and return it."""
    figures = read_figures(workspace)
    environment = Environment(
        loader=PackageLoader("megatron_snow.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"thousands": lambda n: f"{n:,}", "share": _share, "megabytes": lambda n: f"{n / 1e6:,.1f} MB"}
    page = environment.get_template("page.html.j2").render(
        figures=figures,
        version=__version__,
        plot=_plot(figures),
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


def _plot(figures: Figures) -> str:
    return training_plot(figures.metrics, figures.held_out) if figures.metrics else ""


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
