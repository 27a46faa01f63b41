"""Rules of a phase: its datasets, budgets against the horizon, learning rate, fill in the middle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from megatron_snow.config.curve_checks import check_curve
from megatron_snow.config.schema import Blend, Phase

Problem = tuple[str, str]


def check_phase(phase: Phase, step_tokens: int) -> Iterator[Problem]:
    """Every rule that the phase breaks; `step_tokens`: of one optimizer step, by which a horizon may miss the sum of its budgets."""
    key = f"phases.{phase.name}"
    names = [blend.dataset for blend in phase.data]
    if not names:
        yield f"{key}.data", "no dataset given"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{key}.data", f"{name} is named twice; add its shares up"
    for number, blend in enumerate(phase.data):
        yield from _check_blend(f"{key}.data[{number}]", blend)
    yield from _check_horizon(key, phase, step_tokens)
    yield from check_curve(f"{key}.lr", phase.lr, phase.horizon)
    if sum(phase.languages.values()) > 1 + 1e-9 or any(share < 0 for share in phase.languages.values()):
        yield f"{key}.languages", f"shares {dict(phase.languages)} must be at least 0 and together at most 1"
    for name in ("rate", "spm_rate"):
        if not 0 <= getattr(phase.fim, name) <= 1:
            yield f"{key}.fim.{name}", f"{getattr(phase.fim, name)} is not in [0, 1]"


def _check_blend(key: str, blend: Blend) -> Iterator[Problem]:
    if blend.share <= 0:
        yield f"{key}.share", f"{blend.share}: every share must be above 0; leave {blend.dataset} out instead"
    for name in ("tokens", "epochs"):
        if getattr(blend, name) < 0:
            yield f"{key}.{name}", f"{getattr(blend, name)} is below 0"
    if blend.has_budget and blend.share != 1.0:
        yield f"{key}.share", f"{blend.share}, and {blend.dataset} has a budget of tokens or epochs; give one of the two"


def _check_horizon(key: str, phase: Phase, step_tokens: int) -> Iterator[Problem]:
    """Budgets come first, shares fill the rest. What only the data can say (all of a dataset, `epochs` times) is checked with it."""
    if phase.tokens < 0:
        yield f"{key}.tokens", f"{phase.tokens} is below 0"
    known = [blend for blend in phase.data if blend.budget]
    others = ", ".join(blend.dataset for blend in phase.data if not blend.budget)
    total = sum(blend.budget for blend in known)
    if phase.tokens <= 0:
        if others or not known:
            yield f"{key}.tokens", f"none given, and {others or 'no dataset'} has no budget of tokens to take its place; give the horizon"
    elif others and total >= phase.tokens:
        yield (
            f"{key}.tokens",
            f"{phase.tokens:,}, and the budgets {budgets(known)} leave nothing for {others}; raise it or leave {others} out",
        )
    elif known and not others and abs(total - phase.tokens) > step_tokens:
        yield (
            f"{key}.tokens",
            f"{phase.tokens:,}, but the budgets make {budgets(known)}; leave it out, or add a dataset with a share for the rest",
        )


def check_cursors(phases: Sequence[Phase]) -> Iterator[Problem]:
    """Every phase that goes on in a dataset where one before it stopped has such a phase, which reads in the same way."""
    for number, phase in enumerate(phases):
        if phase.sample_cursor == "reset":
            continue
        key, names = f"phases.{phase.name}.sample_cursor", {blend.dataset for blend in phase.data}
        readers = [before for before in phases[:number] if names & {blend.dataset for blend in before.data}]
        if not readers:
            yield key, f"carry, but no phase before it reads {', '.join(sorted(names))}; leave it out"
        if "joint" in {each.repeat for each in (phase, *readers)}:
            yield key, "carry goes on from pass to pass, which `repeat: joint` does not have; take repeat: epochs, or sample_cursor: reset"
        for before in readers:
            if before.packing != phase.packing:
                yield key, f"carry, but phase {before.name} has packing {before.packing} and this one {phase.packing}; make them equal"


def budgets(blends: list[Blend]) -> str:
    """What the budgets say: "selected 12,500,000,000 x 4 = 50,000,000,000"."""
    terms = [f"{blend.dataset} {blend.tokens:,}" + (f" x {blend.epochs:g}" if blend.epochs else "") for blend in blends]
    return f"{' + '.join(terms)} = {sum(blend.budget for blend in blends):,}"
