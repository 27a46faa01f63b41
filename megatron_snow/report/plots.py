"""The plots of a report, as SVG text that stands inside the page."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from megatron_snow.common.divergence import Parting, Rise, mean_loss, newest_scores

_PHASE_COLOURS = ("#e8f1fb", "#fdf1e3", "#e9f7ec", "#f5ebfa")
_LINE, _HELD_OUT, _RISE, _PARTING = "#1f5fa8", "#b3401f", "#c2185b", "#e08a00"
_BENCHMARK_COLOURS = ("#2e7d32", "#6a3fa0", "#b8860b", "#00796b", "#5d4037")
_MILLION = 1e6


def training_plot(
    metrics: Sequence[dict[str, Any]],
    held_out: Sequence[dict[str, Any]],
    downstream: Sequence[dict[str, Any]] = (),
    rises: Sequence[Rise] = (),
    partings: Sequence[Parting] = (),
) -> str:
    """Training and held-out loss, benchmark scores where there are any, and learning rate over tokens; phases and divergence shaded."""
    scores = newest_scores(downstream)
    heights = (3, 1.6, 1.3) if scores else (3, 1.3)
    figure = Figure(figsize=(9, 0.9 + sum(heights)), layout="constrained")
    loss, *middle, rate = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    shade_phases((loss, *middle, rate), metrics)
    _draw_losses(loss, metrics, held_out)
    for axis in middle:
        _draw_scores(axis, scores)
    rate.plot(_tokens(metrics), [record["lr"] for record in metrics], color=_LINE, linewidth=1)
    rate.set_ylabel("learning rate")
    rate.set_xlabel("tokens (millions)")
    _mark_rises(loss, rises)
    _mark_partings((loss, *middle), partings)
    for axis in (loss, *middle):
        axis.legend(frameon=False, fontsize=8)
    return svg_of(figure, "Loss, scores and learning rate over tokens" if scores else "Training loss and learning rate over tokens")


def _tokens(records: Sequence[dict[str, Any]]) -> list[float]:
    return [record["tokens"] / _MILLION for record in records]


def _draw_losses(axis: Any, metrics: Sequence[dict[str, Any]], held_out: Sequence[dict[str, Any]]) -> None:
    axis.plot(_tokens(metrics), [record["loss"] for record in metrics], color=_LINE, linewidth=1, label="training")
    means = [(record["tokens"] / _MILLION, mean) for record in held_out if (mean := mean_loss(record)) is not None]
    if means:
        axis.plot(*zip(*means), "o-", color=_HELD_OUT, markersize=5, linewidth=0.8, label="held out, mean of languages")
    axis.set_ylabel("loss (nats a token)")


def _draw_scores(axis: Any, scores: dict[str, list[dict[str, Any]]]) -> None:
    for number, (benchmark, records) in enumerate(scores.items()):
        colour = _BENCHMARK_COLOURS[number % len(_BENCHMARK_COLOURS)]
        axis.plot(_tokens(records), [100 * record["pass_at_1"] for record in records], "s-", color=colour, markersize=4, label=benchmark)
    axis.set_ylabel("pass@1 (%)")
    axis.set_ylim(bottom=0)


def _mark_rises(axis: Any, rises: Sequence[Rise]) -> None:
    for number, rise in enumerate(rises):
        span = (rise.first_tokens / _MILLION, rise.last_tokens / _MILLION)
        axis.axvspan(*span, color=_RISE, alpha=0.25, label="training loss rises" if number == 0 else None)


def _mark_partings(axes: Sequence[Any], partings: Sequence[Parting]) -> None:
    """Filled; hatched where it may be chance."""
    for chance in (False, True):
        look: dict[str, Any] = {"facecolor": "none", "hatch": "//"} if chance else {"facecolor": _PARTING}
        label = "loss and score part" + (" (within chance)" if chance else "")
        for number, parting in enumerate(parting for parting in partings if parting.within_chance == chance):
            for axis in axes:
                span = (parting.first_tokens / _MILLION, parting.last_tokens / _MILLION)
                axis.axvspan(*span, edgecolor=_PARTING, alpha=0.3, linewidth=0, label=label if number == 0 else None, **look)


def shade_phases(axes: Sequence[Any], metrics: Sequence[dict[str, Any]]) -> None:
    """A colour behind each phase of `metrics` in all axes over millions of tokens; its name in the first."""
    start = 0.0
    for number, (phase, records) in enumerate(groupby(metrics, key=lambda record: record["phase"])):
        end = list(records)[-1]["tokens"] / _MILLION
        for axis in axes:
            axis.axvspan(start, end, color=_PHASE_COLOURS[number % len(_PHASE_COLOURS)], zorder=0)
        axes[0].text(
            (start + end) / 2, 0.97, phase, transform=axes[0].get_xaxis_transform(), ha="center", va="top", fontsize=9, color="#555"
        )
        start = end


def svg_of(figure: Figure, title: str) -> str:
    """The figure as an <svg> element; the same figure gives the same bytes."""
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    # No date and a fixed salt: the same run gives the same bytes.
    with rc_context({"svg.hashsalt": "megatron_snow", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": title})
    svg = buffer.getvalue()
    return re.sub(r"^.*?<svg ", f'<svg role="img" aria-label="{title}" ', svg, count=1, flags=re.DOTALL)
