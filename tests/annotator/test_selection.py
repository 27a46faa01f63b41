from hypothesis import given
from hypothesis import strategies as st

from megatron_snow.annotator.selection import take_top
from megatron_snow.common.shares import apportion

rows = st.lists(st.tuples(st.floats(0, 1), st.uuids().map(str), st.integers(1, 50)), max_size=30, unique_by=lambda row: row[1])


@given(rows, st.integers(1, 300))
def test_the_budget_is_not_exceeded_and_nothing_better_that_fits_is_left(ranking: list[tuple[float, str, int]], budget: int) -> None:
    taken = take_top(ranking, budget)
    tokens = {document_id: count for _, document_id, count in ranking}
    order = [document_id for _, document_id, _ in sorted(ranking, key=lambda row: (-row[0], row[1]))]
    assert sum(tokens[document_id] for document_id in taken) <= budget
    assert taken == [document_id for document_id in order if document_id in taken]
    used = 0
    for document_id in order[: order.index(taken[-1])] if taken else []:
        if document_id in taken:
            used += tokens[document_id]
        else:
            assert used + tokens[document_id] > budget


def test_ties_go_by_id() -> None:
    assert take_top([(0.5, "b", 10), (0.5, "a", 10), (0.5, "c", 10)], 20) == ["a", "b"]


def test_a_document_larger_than_the_budget_is_passed_over() -> None:
    assert take_top([(0.9, "huge", 1000), (0.8, "fits", 90), (0.7, "next", 20)], 100) == ["fits"]


@given(st.integers(0, 10**6), st.dictionaries(st.text(max_size=3), st.floats(1, 1e9), min_size=1, max_size=8))
def test_shares_keep_the_mix_and_add_up(budget: int, tokens: dict[str, float]) -> None:
    shares = apportion(budget, tokens)
    assert sum(shares.values()) == budget
    assert all(abs(shares[name] - budget * count / sum(tokens.values())) <= 1 + 1e-6 for name, count in tokens.items())
