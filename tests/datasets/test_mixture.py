"""Budgets, shares and language targets hold together, or the contradiction is named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_snow.common.errors import UserError
from megatron_snow.config import Blend, Curve, Phase
from megatron_snow.datasets.mixture import Part, solve

LEAST = 129


def shares_of(blends: dict[Blend, dict[str, int]], tokens: int = 0, **languages: float) -> dict[str, tuple[float, int]]:
    """ "dataset/language" -> (share, different tokens) of a phase over datasets of these tokens a language."""
    phase = Phase("p", tuple(blends), tokens=tokens, lr=Curve("constant", 1.0), languages=languages)
    parts = [Part(blend, language, there) for blend, known in blends.items() for language, there in known.items()]
    portions = solve(phase, parts, LEAST)
    assert sum(portion.share for portion in portions) == pytest.approx(1)
    return {f"{part.blend.dataset}/{part.language}": (portion.share, portion.different) for part, portion in zip(parts, portions)}


def test_without_wishes_shares_go_by_tokens() -> None:
    solved = shares_of({Blend("a"): {"C": 1_000, "Go": 3_000}}, tokens=100_000)
    assert solved == {"a/C": (0.25, 1_000), "a/Go": (0.75, 3_000)}


def test_twelve_and_a_half_billion_four_times() -> None:
    """The paper's phase 2 in one line; each language's part of the budget is read four times."""
    there = {"Python": 4_000_000_000, "Java": 12_000_000_000}
    solved = shares_of({Blend("selected", tokens=12_500_000_000, epochs=4): there})
    assert solved == {"selected/Python": (0.25, 3_125_000_000), "selected/Java": (0.75, 9_375_000_000)}


def test_budgets_come_first_and_shares_fill_the_rest() -> None:
    blends = {Blend("s", tokens=10_000, epochs=2): {"C": 50_000}, Blend("a", 3.0): {"C": 7_000}, Blend("b", 1.0): {"Go": 9_000}}
    solved = shares_of(blends, tokens=100_000)
    assert solved == {"s/C": (0.2, 10_000), "a/C": (pytest.approx(0.6), 7_000), "b/Go": (pytest.approx(0.2), 9_000)}


def test_all_of_a_dataset_so_many_times() -> None:
    solved = shares_of({Blend("s", epochs=2): {"C": 10_000}, Blend("a"): {"C": 5_000}}, tokens=100_000)
    assert solved == {"s/C": (pytest.approx(0.2), 10_000), "a/C": (pytest.approx(0.8), 5_000)}


def test_a_target_is_met_and_the_rest_keep_their_proportions() -> None:
    blends = {Blend("a"): {"Python": 100_000, "C": 400_000, "Java": 200_000}, Blend("b"): {"Python": 300_000}}
    solved = {name: share for name, (share, _) in shares_of(blends, tokens=10**6, Python=0.5).items()}
    assert solved["a/C"] == pytest.approx(2 * solved["a/Java"]) == pytest.approx(1 / 3)
    assert solved["b/Python"] == pytest.approx(7 * solved["a/Python"])


def test_a_target_of_zero_leaves_a_language_out() -> None:
    solved = shares_of({Blend("a"): {"C": 1_000, "HTML": 1_000, "Java": 2_000}}, tokens=10**5, HTML=0.0)
    assert [share for share, _ in solved.values()] == pytest.approx([1 / 3, 0, 2 / 3])


def test_a_target_and_a_budget_hold_together() -> None:
    blends = {Blend("s", tokens=40_000): {"Python": 10_000, "C": 30_000}, Blend("a"): {"Python": 20_000, "C": 20_000, "Go": 20_000}}
    solved = shares_of(blends, tokens=100_000, Python=0.5)
    share = {name: share for name, (share, _) in solved.items()}
    assert share["s/Python"] + share["s/C"] == pytest.approx(0.4)
    assert share["s/Python"] + share["a/Python"] == pytest.approx(0.5)
    assert share["a/C"] == pytest.approx(share["a/Go"])
    # Python's odds against C go up by one factor in both datasets.
    assert share["s/Python"] / share["s/C"] * 3 == pytest.approx(share["a/Python"] / share["a/C"])
    assert solved["s/Python"][1] == 10_000  # all there is, read more than once
    assert solved["s/C"][1] == pytest.approx(share["s/C"] * 100_000, abs=1)


def test_a_target_that_a_budget_excludes() -> None:
    blends = {Blend("s", tokens=60_000): {"C": 60_000}, Blend("a"): {"C": 50_000, "Python": 50_000}}
    with pytest.raises(
        UserError, match=r"phases\.p\.languages: Python cannot come to 0\.5 of the phase beside the budgets of s: .* has 0\.4"
    ):
        shares_of(blends, tokens=100_000, Python=0.5)


@given(
    table=st.lists(st.lists(st.integers(200, 10**9), min_size=3, max_size=3), min_size=2, max_size=4),
    target=st.floats(0.05, 0.9),
    budget=st.floats(0.05, 0.8),
)
def test_every_margin_holds(table: list[list[int]], target: float, budget: float) -> None:
    """With all languages in all datasets any target and budget fit."""
    horizon = 10**6
    total = round(budget * horizon)
    first = sum(table[0])
    blends = {Blend("0", tokens=first, epochs=total / first): dict(zip("xyz", table[0]))}
    blends |= {Blend(str(number), 1.0 + number): dict(zip("xyz", row)) for number, row in enumerate(table) if number}
    solved = {name: share for name, (share, _) in shares_of(blends, tokens=horizon, x=target).items()}
    assert sum(share for name, share in solved.items() if name.endswith("/x")) == pytest.approx(target, abs=2e-4)
    assert sum(share for name, share in solved.items() if name.startswith("0/")) == pytest.approx(total / horizon, abs=2e-4)
    rest = np.array([[solved[f"{number}/{language}"] for language in "yz"] for number in range(1, len(table))])
    there = np.array([np.array(row[1:]) / sum(row) * (1.0 + number) for number, row in enumerate(table) if number])
    assert rest / rest.sum() == pytest.approx(there / there.sum(), rel=1e-6)  # who has neither budget nor target keeps the proportions


def test_a_target_without_data() -> None:
    with pytest.raises(
        UserError, match=r"phases\.p\.languages\.Pyton: 0\.5, but no dataset of the phase has that language; did you mean Python\?"
    ):
        shares_of({Blend("a"): {"Python": 1_000, "C": 1_000}}, tokens=10**5, Pyton=0.5)


def test_targets_that_leave_a_rest_to_nobody() -> None:
    with pytest.raises(UserError, match=r"leave 0\.5 to other languages, but the phase has no others"):
        shares_of({Blend("a"): {"Python": 1_000}}, tokens=10**5, Python=0.5)


def test_a_dataset_under_its_budget() -> None:
    nearly = shares_of({Blend("s", tokens=10_000, epochs=4): {"C": 9_500}})
    assert nearly == {"s/C": (1.0, 9_500)}  # read 4.2 times
    with pytest.raises(UserError, match=r"phases\.p\.data: s: its budget is 10,000 different tokens, there are 5,000; make more of it"):
        shares_of({Blend("s", tokens=10_000, epochs=4): {"C": 5_000}})


def test_budgets_of_whole_datasets_against_the_horizon() -> None:
    with pytest.raises(
        UserError, match=r"phases\.p\.tokens: 20,000, and the budgets \(s 40,000\) leave nothing to the datasets with shares"
    ):
        shares_of({Blend("s", epochs=4): {"C": 10_000}, Blend("a"): {"C": 1_000}}, tokens=20_000)
    with pytest.raises(UserError, match=r"phases\.p\.tokens: 20,000, but the budgets make s 40,000 = 40,000 and nothing else is there"):
        shares_of({Blend("s", epochs=4): {"C": 10_000}}, tokens=20_000)
    assert shares_of({Blend("s", epochs=4): {"C": 10_000}}, tokens=41_000) == {"s/C": (1.0, 10_000)}
