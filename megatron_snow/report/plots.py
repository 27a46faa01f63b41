"""The plots of a report, as SVG text that stands inside the page."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

_PHASE_COLOURS = ("#e8f1fb", "#fdf1e3", "#e9f7ec", "#f5ebfa")
_LINE = "#1f5fa8"


def training_plot(metrics: Sequence[dict[str, Any]], held_out: Sequence[dict[str, Any]]) -> str:
    """Loss and learning rate over tokens, phases shaded, held-out losses as points at the end of each phase."""
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.3))
    tokens = [record["tokens"] / 1e6 for record in metrics]
    loss.plot(tokens, [record["loss"] for record in metrics], color=_LINE, linewidth=1, label="training")
    means = [(record["tokens"] / 1e6, _mean(record["losses"])) for record in held_out if record.get("losses")]
    if means:
        loss.plot(*zip(*means), "o", color="#b3401f", markersize=5, label="held out, mean of languages")
    loss.legend(frameon=False)
    rate.plot(tokens, [record["lr"] for record in metrics], color=_LINE, linewidth=1)
    _shade_phases((loss, rate), metrics)
    loss.set_ylabel("loss (nats a token)")
    rate.set_ylabel("learning rate")
    rate.set_xlabel("tokens (millions)")
    return _svg(figure, "Training loss and learning rate over tokens")


def _shade_phases(axes: Sequence[Any], metrics: Sequence[dict[str, Any]]) -> None:
    start = 0.0
    for number, (phase, records) in enumerate(groupby(metrics, key=lambda record: record["phase"])):
        end = list(records)[-1]["tokens"] / 1e6
        for axis in axes:
            axis.axvspan(start, end, color=_PHASE_COLOURS[number % len(_PHASE_COLOURS)], zorder=0)
        axes[0].text(
            (start + end) / 2, 0.97, phase, transform=axes[0].get_xaxis_transform(), ha="center", va="top", fontsize=9, color="#555"
        )
        start = end


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)


def _svg(figure: Figure, title: str) -> str:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    # No date and a fixed salt: the same run gives the same bytes.
    with rc_context({"svg.hashsalt": "megatron_snow", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": title})
    svg = buffer.getvalue()
    return re.sub(r"^.*?<svg ", f'<svg role="img" aria-label="{title}" ', svg, count=1, flags=re.DOTALL)
