"""Fill in the middle: the same tokens in another order, on any sample, whatever stands in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_snow.config import FillInMiddle
from megatron_snow.datasets.fim import LEAST_TOKENS, SENTINELS, FimTokens, fill_in_middle
from megatron_snow.datasets.fim_reference import permute_rows

PREFIX, MIDDLE, SUFFIX, EOD, SEP, REPO, BOS = range(7)
IDS = FimTokens(PREFIX, MIDDLE, SUFFIX, EOD, SEP, REPO, BOS)
ALWAYS = FillInMiddle(rate=1.0)

Rows = tuple[np.ndarray, np.ndarray]


def permuted(
    tokens: np.ndarray, segments: np.ndarray, settings: FillInMiddle = ALWAYS, samples: np.ndarray | None = None, key: int = 1
) -> Rows:
    tokens, segments = tokens.copy(), segments.copy()
    fill_in_middle(tokens, segments, np.arange(len(tokens)) if samples is None else samples, settings, IDS, key)
    return tokens, segments


def undone(row: np.ndarray) -> list[int]:
    """The text of a row as it was: what stands behind each <fim_prefix> is put in order again."""
    out: list[int] = []
    rest = row.tolist()
    while PREFIX in rest:
        at = rest.index(PREFIX)
        out, rest = out + rest[:at], rest[at + 1 :]
        end = next((n for n, token in enumerate(rest) if token in (EOD, SEP, REPO, BOS, PREFIX)), len(rest))
        document, rest = rest[:end], rest[end:]
        suffix, middle = document.index(SUFFIX), document.index(MIDDLE)
        left, right, last = document[:suffix], document[suffix + 1 : middle], document[middle + 1 :]
        if suffix:
            out += left + last + right
        else:  # PSM with an empty prefix, or SPM, of which P and M stand together: the same text
            out += last + right
    return out + rest


def one_row(*files: list[int], ends: int = SEP) -> Rows:
    """Files, each with a separator, the last with <|endoftext|>."""
    tokens = [token for n, file in enumerate(files) for token in [*file, EOD if n == len(files) - 1 else ends]]
    numbers = [n for n, file in enumerate(files) for _ in range(len(file) + 1)]
    return np.array([tokens], np.int64), np.array([numbers], np.int32)


def text(count: int, first: int = 100) -> list[int]:
    return list(range(first, first + count))


@st.composite
def samples(draw: st.DrawFn) -> Rows:
    """Rows cut from documents of files, some of them empty, with and without names, some rows filled up."""
    width = draw(st.integers(4, 120))
    rows, numbers = [], []
    for _ in range(draw(st.integers(1, 3))):
        tokens: list[int] = []
        segments: list[int] = []
        while len(tokens) < width + 40:
            files = draw(st.lists(st.integers(0, 40), min_size=1, max_size=4))
            named, begun = draw(st.booleans()), draw(st.booleans())
            for n, length in enumerate(files):
                start = len(tokens)
                tokens += [BOS] * (begun and n == 0) + ([REPO, *text(3, 900), SEP] if named and n == 0 else [])
                tokens += [*text(length, 1000 + len(tokens)), EOD if n == len(files) - 1 else SEP]
                segments += [segments[-1] + 1 if segments else 0] * (len(tokens) - start)
        offset, filled = draw(st.integers(0, 40)), draw(st.integers(1, width))
        row, of_row = np.array(tokens[offset : offset + width]), np.array(segments[offset : offset + width])
        of_row -= of_row[0]
        if draw(st.booleans()):
            row[filled:], of_row[filled:] = EOD, -1
        rows.append(row)
        numbers.append(of_row)
    return np.stack(rows).astype(np.int64), np.stack(numbers).astype(np.int32)


settings = st.builds(
    FillInMiddle, rate=st.sampled_from([0.3, 1.0]), spm_rate=st.sampled_from([0.0, 0.5, 1.0]), unit=st.sampled_from(["file", "document"])
)


@given(samples(), settings, st.integers(0, 2**64 - 1))
def test_the_same_tokens_but_for_the_tail(batch: Rows, fim: FillInMiddle, key: int) -> None:
    """Sentinels come by threes, what is left is the beginning of the row, each token as often."""
    tokens, segments = permuted(*batch, fim, key=key)
    for before, after in zip(batch[0], tokens):
        counts = Counter(after.tolist())
        documents = counts.pop(PREFIX, 0)
        assert (counts.pop(MIDDLE, 0), counts.pop(SUFFIX, 0)) == (documents, documents)
        assert counts == Counter(before[: len(before) - SENTINELS * documents].tolist())
    assert tokens.shape == segments.shape == batch[0].shape


@given(samples(), settings.filter(lambda fim: fim.unit == "file"), st.integers(0, 2**64 - 1))
def test_undone_it_is_the_row_that_was(batch: Rows, fim: FillInMiddle, key: int) -> None:
    tokens, _ = permuted(*batch, fim, key=key)
    for before, after in zip(batch[0], tokens):
        found = undone(after)
        assert found == before[: len(found)].tolist()


@given(samples(), settings, st.integers(0, 2**64 - 1))
def test_what_separates_stays(batch: Rows, fim: FillInMiddle, key: int) -> None:
    """In number and order up to the cut; names behind <repo_name> untouched."""
    fixed = [EOD, REPO, BOS] + [SEP] * (fim.unit == "file")
    tokens, _ = permuted(*batch, fim, key=key)
    for before, after in zip(batch[0], tokens):
        old, new = (row[np.isin(row, fixed)].tolist() for row in (before, after))
        assert new == old[: len(new)]
        for at in np.flatnonzero(after == REPO)[: (after == REPO).sum() - 1]:
            assert after[at + 1 : at + 5].tolist() == [*text(3, 900), SEP]


@given(samples(), settings, st.integers(0, 2**64 - 1))
def test_segments_follow(batch: Rows, fim: FillInMiddle, key: int) -> None:
    """Each token is of the file it was of (a permuted group is one), numbers rise by one, padding stays at the end."""
    tokens, segments = permuted(*batch, fim, key=key)
    for before, old, after, new in zip(batch[0], batch[1], tokens, segments):
        kept = new[new >= 0]
        assert set(np.diff(kept)) <= {0, 1}
        assert kept.size == 0 or kept[0] == 0
        assert (new[kept.size :] < 0).all()
        if fim.unit == "file":
            texts = [
                [row[(numbers == n) & (row >= 1000)] for n in range(numbers.max() + 1)] for row, numbers in ((before, old), (after, new))
            ]
            assert all(set(b.tolist()) <= set(a.tolist()) for a, b in zip(*texts))


@given(samples(), st.integers(0, 2**64 - 1))
def test_rate_0_changes_nothing(batch: Rows, key: int) -> None:
    tokens, segments = permuted(*batch, FillInMiddle(rate=0.0), key=key)
    assert np.array_equal(tokens, batch[0])
    assert np.array_equal(segments, batch[1])


@given(samples(), settings, st.integers(0, 2**64 - 1))
def test_a_row_depends_on_its_number_alone(batch: Rows, fim: FillInMiddle, key: int) -> None:
    """Not on the rows that are read with it, nor on their order: any rank and worker, and a resumed run, sees the same."""
    numbers = np.arange(len(batch[0])) * 7 + 3
    whole = permuted(*batch, fim, numbers, key)
    for row in reversed(range(len(numbers))):
        alone = permuted(*(part[row : row + 1] for part in batch), fim, numbers[row : row + 1], key)
        assert np.array_equal(alone[0][0], whole[0][row])
        assert np.array_equal(alone[1][0], whole[1][row])


@given(samples(), settings, st.integers(0, 2**64 - 1))
def test_numpy_gives_the_same(batch: Rows, fim: FillInMiddle, key: int) -> None:
    tokens, segments = (part.copy() for part in batch)
    numbers, rates = np.arange(len(tokens)), {"rate": round(fim.rate * 2**32), "spm_rate": round(fim.spm_rate * 2**32)}
    permute_rows(tokens, segments, numbers, IDS, key, **rates, unit=fim.unit)
    expected = permuted(*batch, fim, key=key)
    assert np.array_equal(tokens, expected[0])
    assert np.array_equal(segments, expected[1])


@pytest.mark.parametrize("spm_rate", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
def test_rates_hold(rate: float, spm_rate: float) -> None:
    """Of 40,000 documents: 6 standard deviations are 0.015."""
    tokens, segments = one_row(*[text(20)] * 10)
    tokens, segments = np.repeat(tokens, 4000, axis=0), np.repeat(segments, 4000, axis=0)
    tokens, segments = (np.pad(part, ((0, 0), (0, 40)), constant_values=value) for part, value in ((tokens, EOD), (segments, -1)))
    after, _ = permuted(tokens, segments, FillInMiddle(rate, spm_rate))
    documents = (after == PREFIX).sum()
    assert documents / 40_000 == pytest.approx(rate, abs=0.015)
    together = ((after[:, :-1] == PREFIX) & (after[:, 1:] == SUFFIX)).sum()  # SPM, and PSM with an empty prefix: 2 of 22 cuts
    assert together / documents == pytest.approx(spm_rate + (1 - spm_rate) * (1 - (20 / 21) ** 2), abs=0.03)


def test_cuts_are_uniform() -> None:
    """The mean of the smaller and larger of two uniform cuts of 0..1000 tokens: a third and two thirds."""
    tokens, segments = one_row(text(1000))
    tokens, segments = np.pad(tokens, ((0, 0), (0, 3)), constant_values=EOD), np.pad(segments, ((0, 0), (0, 3)), constant_values=-1)
    after, _ = permuted(np.repeat(tokens, 4000, axis=0), np.repeat(segments, 4000, axis=0), FillInMiddle(1.0, 0.0))
    suffix, middle = (np.argmax(after == token, axis=1) for token in (SUFFIX, MIDDLE))
    assert np.mean(suffix - 1) == pytest.approx(1000 / 3, abs=25)
    assert (after[:, -1] == EOD).all()  # the separator still stands behind
    assert np.mean(middle - suffix - 1) == pytest.approx(1000 / 3, abs=25)


def test_another_sample_or_key_is_cut_elsewhere() -> None:
    tokens, segments = one_row(text(500))
    found = {permuted(tokens, segments, ALWAYS, np.array([n]), key)[0].tobytes() for n in range(10) for key in (1, 2)}
    assert len(found) == 20


def test_psm_and_spm() -> None:
    """The layout, with the cuts that the hash gives."""
    tokens, segments = one_row(text(30))
    for spm_rate in (0.0, 1.0):
        (row,), _ = permuted(np.pad(tokens, ((0, 0), (0, 3))), np.pad(segments, ((0, 0), (0, 3))), FillInMiddle(1.0, spm_rate))
        assert row[0] == PREFIX
        suffix, middle = (int(np.flatnonzero(row == token)[0]) for token in (SUFFIX, MIDDLE))
        right = row[suffix + 1 : middle].tolist()
        assert right == text(30)[30 - len(right) :]
        assert row[1:suffix].tolist() + row[middle + 1 : middle + 1 + 30 - len(right) - (suffix - 1)].tolist() == text(30 - len(right))
        assert (suffix == 1) == (spm_rate == 1.0)


# What went wrong elsewhere.


@pytest.mark.parametrize("row", [[SEP, *text(20), EOD], [*text(20), SEP, SEP, *text(20, 200), EOD], [SEP, SEP, SEP, EOD, EOD], [EOD] * 6])
def test_separators_beside_nothing_are_kept(row: list[int]) -> None:
    """Megatron-LM pull request 7552: a separator in front of an empty fragment was dropped."""
    tokens = np.array([row], np.int64)
    segments = np.cumsum(np.concatenate([[0], np.isin(row[:-1], [SEP, EOD])]), dtype=np.int32)[None]
    (after,), _ = permuted(np.pad(tokens, ((0, 0), (0, 6)), constant_values=EOD), np.pad(segments, ((0, 0), (0, 6)), constant_values=-1))
    assert after[np.isin(after, [SEP, EOD])][: sum(t in (SEP, EOD) for t in row)].tolist() == [t for t in row if t in (SEP, EOD)]
    assert undone(after)[: len(row)] == row


def test_the_last_document_has_no_end_and_is_permuted() -> None:
    """bigcode's fork, pull request 9: what stood behind the last <|endoftext|> was skipped."""
    (after,), _ = permuted(np.array([[*text(20), EOD, *text(40, 200)]]), np.repeat([[0, 1]], [21, 40], axis=1).astype(np.int32))
    assert (after == PREFIX).sum() == 2
    assert after[23:25].tolist() == [EOD, PREFIX]
    (only,), _ = permuted(np.array([text(40)]), np.zeros((1, 40), np.int32))
    assert (only == PREFIX).sum() == 1


def test_a_token_that_begins_a_text_stays_in_front() -> None:
    """Megatron-Bridge pull request 5228: with one, prefixes were not recognised and control tokens were encoded again."""
    (after,), _ = permuted(np.array([[BOS, REPO, *text(3), SEP, *text(30, 200), EOD]]), np.zeros((1, 37), np.int32))
    assert after[:7].tolist() == [BOS, REPO, *text(3), SEP, PREFIX]


def test_a_name_that_the_border_of_the_sample_cuts_is_no_text() -> None:
    tokens, segments = one_row([*text(12), SEP, *text(30, 200)], text(30, 300))
    for unit in ("file", "document"):
        (after,), _ = permuted(tokens, segments, FillInMiddle(1.0, unit=unit))  # type: ignore[arg-type]
        assert after[:14].tolist() == [*text(12), SEP, PREFIX]


def test_a_group_is_permuted_as_one_document() -> None:
    """Its files become one segment, with the <|endoftext|> behind; the next document is the next."""
    tokens, segments = one_row(text(20), text(20, 200), text(20, 300))
    tokens, segments = np.concatenate([tokens, tokens], axis=1), np.concatenate([segments, segments + 3], axis=1)
    (after,), (numbers,) = permuted(tokens, segments, replace(ALWAYS, unit="document"))
    assert (after == PREFIX).sum() == 2
    assert (after[:66] == SEP).sum() == 2
    assert numbers.tolist() == [0] * 66 + [1] * 60


def test_short_documents_are_left() -> None:
    tokens, segments = one_row(text(LEAST_TOKENS - 1), text(LEAST_TOKENS, 200), text(LEAST_TOKENS - 1, 300))
    (after,), _ = permuted(tokens, segments)
    assert after[:LEAST_TOKENS].tolist() == tokens[0, :LEAST_TOKENS].tolist()
    assert (after == PREFIX).sum() == 1


def test_files_that_adjoin_are_told_apart_by_their_segments() -> None:
    (after,), (numbers,) = permuted(np.array([[*text(20), *text(20, 200)]]), np.repeat([[0, 1]], 20, axis=1).astype(np.int32))
    assert np.flatnonzero(after == PREFIX).tolist() == [0, 23]
    assert numbers.tolist() == [0] * 23 + [1] * 17
