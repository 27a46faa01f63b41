"""Where curves part: the held-out loss against a benchmark's score, and a training loss that rises. Pure functions of records."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

WINDOW = 64  # losses that say what is usual
RECENT = 9  # losses whose median is compared with them: a spike of up to 4 steps is none
SPREADS = 3.0  # their median has 0.42 of the spread of one loss (1.25 / 3), so 3 spreads are 7 of its own
_NORMAL = 1.4826  # the standard deviation of normal noise over its median absolute deviation
_CHANCE = 1.96  # standard errors: 95 % of differences by chance are smaller


@dataclass(frozen=True)
class Parting:
    """Between two evaluations the held-out loss and a benchmark's score did not improve together."""

    benchmark: str
    first_step: int
    last_step: int
    first_tokens: int
    last_tokens: int
    loss_change: float  # nats a token
    score_change: float  # of pass@1, a share of one
    within_chance: bool  # as many problems, each an independent draw, differ by this in over 5 % of cases

    def __str__(self) -> str:
        went = "fell" if self.loss_change < 0 else "rose"
        told = f"steps {self.first_step:,} to {self.last_step:,}: held-out loss {went} by {abs(self.loss_change):.4f}, "
        score = f"{self.benchmark} pass@1 {'fell' if self.score_change < 0 else 'rose'} by {100 * abs(self.score_change):.1f} points"
        return told + score + (" (within chance for so few problems)" if self.within_chance else "")


@dataclass(frozen=True)
class Rise:
    """A stretch of a phase in which the training loss was above its running window."""

    phase: str
    first_step: int
    last_step: int
    first_tokens: int
    last_tokens: int
    usual: float  # median of the window before it
    highest: float  # median of RECENT losses, at its highest

    def __str__(self) -> str:
        return (
            f"steps {self.first_step:,} to {self.last_step:,} of phase {self.phase}: training loss rose "
            f"from {self.usual:.3f} to {self.highest:.3f}"
        )


def mean_loss(record: dict[str, Any]) -> float | None:
    """The mean of a held-out record's losses over its languages; None where it has none."""
    losses = record.get("losses") or {}
    return sum(losses.values()) / len(losses) if losses else None


def newest_scores(downstream: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Records of done evaluations by benchmark, in the order of their steps; of two of one step the later line."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for record in downstream:
        if record["status"] == "done":
            found.setdefault(record["benchmark"], {})[record["step"]] = record
    return {benchmark: [of[step] for step in sorted(of)] for benchmark, of in sorted(found.items())}


def partings(held_out: Sequence[dict[str, Any]], downstream: Iterable[dict[str, Any]]) -> list[Parting]:
    """Each pair of consecutive evaluations of a benchmark between which loss and score both fell, or both rose.

    Only steps at which both were measured count: nothing is interpolated. An unchanged loss or score parts from nothing.
    """
    losses = {record["step"]: loss for record in held_out if (loss := mean_loss(record)) is not None}
    found = []
    for benchmark, records in newest_scores(downstream).items():
        known = [record for record in records if record["step"] in losses]
        for one, two in pairwise(known):
            loss, score = losses[two["step"]] - losses[one["step"]], two["pass_at_1"] - one["pass_at_1"]
            if loss * score > 0:
                places = (one["step"], two["step"], one["tokens"], two["tokens"])
                found.append(Parting(benchmark, *places, loss, score, _within_chance(one, two)))
    return found


def _within_chance(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Two-proportion z-test, pooled (Fleiss et al. 2003, 3.2)."""
    count = one["n"] + two["n"]
    share = (one["pass_at_1"] * one["n"] + two["pass_at_1"] * two["n"]) / count
    error = math.sqrt(share * (1 - share) * (1 / one["n"] + 1 / two["n"]))
    return bool(abs(two["pass_at_1"] - one["pass_at_1"]) < _CHANCE * error)


class LossWatch:
    """Tells, step by step, when the training loss rises above its running window.

    At each step: the median of the last RECENT losses against the WINDOW losses before those. A rise begins where it is more than
    SPREADS robust standard deviations (1.4826 x median absolute deviation) above the window's median; the window then stays where
    it was until the median of the recent losses is back under that threshold. A phase begins anew: other data, another loss. So
    nothing is told in the first WINDOW + RECENT steps of a phase.
    """

    def __init__(self) -> None:
        self._phase = ""
        self._losses: deque[float] = deque(maxlen=WINDOW + RECENT)
        self._frozen: tuple[float, float] | None = None  # usual loss and threshold, while it is risen
        self.rise: Rise | None = None  # of this step; None: the loss is as usual

    def add(self, record: dict[str, Any]) -> bool:
        """Take the next step's {step, tokens, phase, loss}; whether a rise begins with it."""
        if record["phase"] != self._phase:
            self._phase, self._frozen, self.rise = record["phase"], None, None
            self._losses.clear()
        self._losses.append(record["loss"])
        if len(self._losses) < WINDOW + RECENT:
            return False
        losses = list(self._losses)
        now = median(losses[WINDOW:])
        usual, threshold = self._frozen or _usual(losses[:WINDOW], now)
        before = self.rise
        if now <= threshold:
            self._frozen = self.rise = None
            return False
        self._frozen = usual, threshold
        first = before or Rise(record["phase"], record["step"], 0, record["tokens"], 0, usual, now)
        highest = max(first.highest, now)
        self.rise = Rise(first.phase, first.first_step, record["step"], first.first_tokens, record["tokens"], usual, highest)
        return before is None


def _usual(window: list[float], now: float) -> tuple[float, float]:
    """(median, threshold) of a window; the spread is not computed where `now` is not above the median."""
    centre = median(window)
    return centre, centre + (SPREADS * _NORMAL * median(abs(loss - centre) for loss in window) if now > centre else 0.0)


def rises(metrics: Iterable[dict[str, Any]]) -> list[Rise]:
    """Every rise of a run's training loss, from its metrics in the order of steps; see LossWatch."""
    watch, found = LossWatch(), []
    for record in metrics:
        if watch.add(record):
            found.append(watch.rise)
        elif watch.rise is not None:
            found[-1] = watch.rise
    return [rise for rise in found if rise is not None]
