import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_snow.common.errors import UserError
from megatron_snow.common.shares import apportion
from megatron_snow.config import Workspace
from megatron_snow.pipeline import shards_in
from megatron_snow.synthesis.seeds import choose_seeds, cut_lines, language_shares


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 200), st.integers())
def test_a_seed_is_whole_lines_of_at_most_its_size(text: str, size: int, seed: int) -> None:
    cut = cut_lines(text, size, random.Random(seed))
    assert len(cut.encode()) <= size
    lines = text.splitlines()
    if "\n" in cut:
        assert all(line in lines for line in cut.split("\n"))


def test_a_seed_begins_at_a_top_level_line() -> None:
    text = "import os\n\ndef f():\n    a = 1\n\n    return a\n\nclass C:\n    pass\n"
    begins = {cut_lines(text, 30, random.Random(seed)).split("\n")[0] for seed in range(20)}
    assert begins == {"def f():", "class C:"}


def test_shares_of_languages(workspace: Workspace) -> None:
    seeds = choose_seeds(shards_in(workspace.annotator("selected")), {"Python": 0.75, "C": 0.25, "Rust": 0.5}, 8, 400, 1)
    assert Counter(seed.language for seed in seeds) == {"Python": 6, "C": 2}
    assert seeds == choose_seeds(shards_in(workspace.annotator("selected")), {"C": 0.25, "Python": 0.75}, 8, 400, 1)
    python = [seed for seed in seeds if seed.language == "Python"]
    assert len({seed.id for seed in python}) == 5  # each of the five files once, then one again
    assert [seed.number for seed in python] == [0, 0, 0, 0, 0, 1]
    assert seeds != choose_seeds(shards_in(workspace.annotator("selected")), {"C": 0.25, "Python": 0.75}, 8, 400, 2)


def test_no_seed_of_any_language_is_an_error(workspace: Workspace) -> None:
    with pytest.raises(UserError, match=r"synthesis.languages: no selected document is in Rust; .*selected has C, Python"):
        choose_seeds(shards_in(workspace.annotator("selected")), {"Rust": 1.0}, 8, 400, 1)


@given(st.integers(0, 1000), st.dictionaries(st.text(max_size=3), st.floats(0.01, 1), min_size=1, max_size=6))
def test_quotas_add_up(count: int, shares: dict[str, float]) -> None:
    assert sum(apportion(count, shares).values()) == count


def test_what_the_targets_leave_goes_to_the_other_languages_by_size() -> None:
    sizes = {"Python": 10, "C": 30, "Perl": 10}
    assert language_shares({"Python": 0.5}, sizes) == {"Python": 0.5, "C": 0.375, "Perl": 0.125}
    assert language_shares({"Python": 1.0}, sizes) == {"Python": 1.0}
    assert language_shares({"Ruby": 1.0}, sizes) == {}
