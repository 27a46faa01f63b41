"""What each source gives to a phase: budgets, shares and language targets, solved before anything runs.

Three kinds of wishes, in this order:

- a **budget** (`tokens` x `epochs` of a dataset) says how much of it is read. Over its languages it
  goes by their tokens; each is a fixed subset, the same in every pass;
- **shares** divide what the budgets leave of the phase's tokens, over languages by their tokens;
- **targets** (`languages`) are shares of the whole phase. Languages with one are scaled to it, the
  others keep their proportions and fill the rest.

A target scales its language in all datasets alike, but a budget's sum stays: both hold together where
the tokens can be scaled that way (iterative proportional fitting, Deming and Stephan 1940), and what
cannot is refused. A share has no such claim: targets may move tokens from one dataset with a share to
another, as in the paper's phase 3, where Python grows near half (paper 2.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError, nearest
from megatron_snow.config import Blend, Phase, file_name_of

# A budget may be short of tokens by so much (it is read a little more often), and the budgets of whole datasets, whose
# size is not known when a recipe is written, may miss the horizon by so much; beyond it the phase would be another one.
_SLACK = 0.1
# Up to four passes teach nearly as much as new data (Muennighoff 2023; the paper's Table 6 chose four).
MANY_EPOCHS = 4.5
_ALL = 0.999  # a subset of so much of a source is all of it
_ROUNDS, _EXACT = 10_000, 1e-9  # of the fitting: at most, and the error at which it ends
_MISSED = 1e-4  # of the phase's tokens: an error that stays after all rounds is a contradiction

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """A source before the mixture is solved."""

    blend: Blend
    language: str  # as file names write it
    tokens: int  # there are


@dataclass(frozen=True)
class Portion:
    """What the phase reads of a source."""

    share: float  # of the phase's tokens
    different: int  # tokens that are read, each `epochs` times; all there are, or a budget's part of them


def solve(phase: Phase, parts: Sequence[Part], least: int) -> list[Portion]:
    """A portion for each part; the shares sum to 1. `least` tokens of a source make one sample.

    UserError that names keys and figures where the wishes contradict each other or the data.
    """
    totals = _budgets(phase, parts)
    tokens = _by_budget_and_share(phase, parts, totals)
    if phase.languages:
        tokens = _with_targets(phase, parts, tokens)
    shares = tokens / tokens.sum()
    return [Portion(float(share), _different(part, share * phase.horizon, least)) for part, share in zip(parts, shares)]


def _different(part: Part, read: float, least: int) -> int:
    """Different tokens of a part of which `read` are read."""
    if not part.blend.tokens:
        return part.tokens
    wanted = max(least, round(read / (part.blend.epochs or 1.0)))
    return part.tokens if wanted >= _ALL * part.tokens else wanted


def _budgets(phase: Phase, parts: Sequence[Part]) -> dict[str, float]:
    """Tokens that each dataset with a budget gives; they fit the horizon and the data."""
    totals = {}
    for blend in phase.data:
        if not blend.has_budget:
            continue
        there = sum(part.tokens for part in parts if part.blend == blend)
        if there < (1 - _SLACK) * blend.tokens:
            raise UserError(
                f"phases.{phase.name}.data: {blend.dataset}: its budget is {blend.tokens:,} different tokens, there are {there:,}; "
                "make more of it, or lower `tokens` and read them in more `epochs`"
            )
        totals[blend.dataset] = (blend.tokens or there) * (blend.epochs or 1.0)
    given, rest = sum(totals.values()), any(not part.blend.has_budget for part in parts)
    terms = " + ".join(f"{dataset} {total:,.0f}" for dataset, total in totals.items())
    if rest and given >= phase.horizon:
        raise UserError(
            f"phases.{phase.name}.tokens: {phase.horizon:,}, and the budgets ({terms}) leave nothing to the datasets with shares; raise it"
        )
    if not rest and abs(given - phase.horizon) > _SLACK * phase.horizon:
        raise UserError(
            f"phases.{phase.name}.tokens: {phase.horizon:,}, but the budgets make {terms} = {given:,.0f} and nothing else is there; "
            "set it to that, or change `epochs`"
        )
    return totals


def _by_budget_and_share(phase: Phase, parts: Sequence[Part], totals: Mapping[str, float]) -> Weights:
    """Tokens of each part as if there were no targets."""
    there = {blend.dataset: sum(part.tokens for part in parts if part.blend == blend) for blend in phase.data}
    shares = sum(blend.share for blend in phase.data if not blend.has_budget and there[blend.dataset])
    rest = phase.horizon - sum(totals.values())
    given = {blend.dataset: blend.share / shares * rest for blend in phase.data if not blend.has_budget and shares} | dict(totals)
    return np.array([given[part.blend.dataset] * part.tokens / there[part.blend.dataset] for part in parts])


def _with_targets(phase: Phase, parts: Sequence[Part], tokens: Weights) -> Weights:
    """Scaled so that targets and budgets hold."""
    key, targets = f"phases.{phase.name}.languages", {file_name_of(name): share for name, share in phase.languages.items()}
    languages = {part.language for part in parts}
    for language, share in targets.items():
        if share and language not in languages:
            raise UserError(
                f"{key}.{language}: {share}, but no dataset of the phase has that language{nearest(language, languages)}; "
                f"there are {', '.join(sorted(languages))}"
            )
    rest = 1.0 - sum(targets.values())
    if rest > 1e-9 and not languages - set(targets):
        raise UserError(f"{key}: {targets} leave {rest:.3g} to other languages, but the phase has no others; let them sum to 1")
    columns = [*targets, ""]  # "": all languages without a target
    rows = [*(blend.dataset for blend in phase.data if blend.has_budget), ""]  # "": all datasets with a share
    row = np.array([rows.index(part.blend.dataset if part.blend.has_budget else "") for part in parts])
    column = np.array([columns.index(part.language if part.language in targets else "") for part in parts])
    table = np.zeros((len(rows), len(columns)))
    np.add.at(table, (row, column), tokens)
    row_sums, column_sums = table.sum(1), tokens.sum() * np.array([*targets.values(), max(0.0, rest)])
    fitted = _fit(table, row_sums, column_sums)
    missed = np.abs(fitted.sum(0) - column_sums)
    if missed.max() > _MISSED * tokens.sum():
        _refuse_targets(key, columns[int(missed.argmax())], fitted.sum(0) / tokens.sum(), column_sums / tokens.sum(), columns, rows)
    return tokens * (fitted / np.where(table > 0, table, 1.0))[row, column]


def _fit(table: Weights, row_sums: Weights, column_sums: Weights) -> Weights:
    """The table scaled by rows and by columns until both sums hold, or as near as it comes; rows hold last."""
    for _ in range(_ROUNDS):
        columns = table.sum(0)
        if np.abs(columns - column_sums).max() <= _EXACT * row_sums.sum():
            break
        table = table * (column_sums / np.where(columns > 0, columns, 1.0))
        rows = table.sum(1)
        table = table * (row_sums / np.where(rows > 0, rows, 1.0))[:, None]
    return table


def _refuse_targets(key: str, language: str, reached: Weights, wanted: Weights, columns: Sequence[str], rows: Sequence[str]) -> None:
    number = columns.index(language)
    name = language or "the languages without a target"
    raise UserError(
        f"{key}: {name} cannot come to {wanted[number]:.3g} of the phase beside the budgets of {', '.join(filter(None, rows))}: "
        f"the nearest mix has {reached[number]:.3g}; change the target, or give a share in place of a budget"
    )
