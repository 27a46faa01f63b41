"""The runs of words of all needles that count, with their words, as arrays that the search reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from megatron_snow.corpus.decontamination.needles import MIN_TELLING, MIN_WORDS, SHARED_TASKS, Needle, known_trivial, tells
from megatron_snow.corpus.decontamination.words import Hashes, lower, run_hashes, words_of

Integers = NDArray[np.int64]
_SEPARATOR = "\n"


class Runs(NamedTuple):
    """Different runs by ascending hash. Run i has the words codes[code_starts[i]:][:code_counts[i]] (code points, 0 after
    each word) and stands in the needles postings[posting_starts[i]:posting_starts[i + 1]].
    """

    keys: Hashes
    words: Integers  # how many a run has
    codes: NDArray[np.uint32]
    code_starts: Integers
    code_counts: NDArray[np.int32]
    posting_starts: Integers
    postings: NDArray[np.int32]
    reasons: NDArray[np.str_]  # a needle: why it is trivial, "" where it is searched for
    suffixes: Hashes  # of the last words of each run, as many as the shortest run has


class _Text(NamedTuple):
    """The words of all needles."""

    hashes: Hashes
    vocabulary: list[str]  # in lower case
    word: Integers  # a word's place in the vocabulary
    needle: Integers
    first: Integers  # a needle: its first word; one more at the end


def build_runs(needles: Sequence[Needle], ngram: int) -> Runs:
    """All runs of `ngram` words, or of a whole shorter needle, that name a task."""
    text = _read(needles)
    counts = np.diff(text.first)
    length = np.minimum(counts, ngram)
    reasons = np.where(length < min(MIN_WORDS, ngram), "short", np.full(len(needles), "plain", "U6"))
    reasons[[number for number in np.flatnonzero(counts < 64).tolist() if _is_known(text, number)]] = "known"
    starts = _telling_starts(text, length, np.isin(reasons, ("short", "known")), min(MIN_TELLING, ngram))
    hashes = np.empty(len(starts), np.uint64)
    for n in np.unique(length[text.needle[starts]]).tolist():
        chosen = length[text.needle[starts]] == n
        hashes[chosen] = run_hashes(text.hashes, n)[starts[chosen]]
    reasons[text.needle[starts]] = "shared"
    own = ~_shared(hashes, text.needle[starts], needles)
    starts, hashes = starts[own], hashes[own]
    reasons[text.needle[starts]] = ""
    return _arrays(text, starts, hashes, length, reasons)


def _read(needles: Sequence[Needle]) -> _Text:
    data = [needle.text.encode() for needle in needles]
    joined = _SEPARATOR.encode().join(data)
    hashes, starts, ends = words_of(joined.decode())
    needle_ends = np.cumsum([len(item) + 1 for item in data])
    needle = np.searchsorted(needle_ends, starts, side="right")
    _, where, word = np.unique(hashes, return_index=True, return_inverse=True)
    vocabulary = [lower(joined[starts[i] : ends[i]].decode()) for i in where.tolist()]
    return _Text(hashes, vocabulary, word, needle, np.searchsorted(needle, np.arange(len(needles) + 1)))


def _is_known(text: _Text, number: int) -> bool:
    return text.hashes[text.first[number] : text.first[number + 1]].tobytes() in known_trivial()


def _telling_starts(text: _Text, length: Integers, trivial: NDArray[np.bool_], least: int) -> Integers:
    """First words of the runs with at least `least` different telling words."""
    telling = np.array([tells(word) for word in text.vocabulary], np.bool_)[text.word]
    found = [np.empty(0, np.int64)]
    for n in np.unique(length[~trivial]).tolist():
        owner = text.needle[: max(0, len(text.word) - n + 1)]
        inside = (length[owner] == n) & ~trivial[owner] & (owner == text.needle[n - 1 :])
        starts = np.flatnonzero(inside)
        different = np.zeros(len(starts), np.int64)
        for k in range(n):
            new = telling[starts + k]
            for earlier in range(k):
                new &= text.word[starts + earlier] != text.word[starts + k]
            different += new
        found.append(starts[different >= least])
    return np.sort(np.concatenate(found))


def _shared(hashes: Hashes, needle: Integers, needles: Sequence[Needle]) -> NDArray[np.bool_]:
    """Which runs stand in SHARED_TASKS tasks of one benchmark."""
    benchmarks: dict[str, int] = {}
    tasks: dict[tuple[str, str], int] = {}
    benchmark = np.array([benchmarks.setdefault(item.benchmark, len(benchmarks)) for item in needles], np.int64)
    task = np.array([tasks.setdefault((item.benchmark, item.family or item.task), len(tasks)) for item in needles], np.int64)
    keys, run = np.unique(hashes, return_inverse=True)
    of_task = np.zeros(len(tasks), np.int64)
    of_task[task] = benchmark
    holds = np.unique(run * len(tasks) + task[needle])  # each run with each task that has it, once
    groups, count = np.unique(holds // max(1, len(tasks)) * len(benchmarks) + of_task[holds % max(1, len(tasks))], return_counts=True)
    shared = np.zeros(len(keys), np.bool_)
    shared[groups[count >= SHARED_TASKS] // max(1, len(benchmarks))] = True
    return shared[run]


def _arrays(text: _Text, starts: Integers, hashes: Hashes, length: Integers, reasons: NDArray[np.str_]) -> Runs:
    keys, first, run = np.unique(hashes, return_index=True, return_inverse=True)
    number = text.needle[starts]
    held = np.unique(run * max(1, len(reasons)) + number)  # each run with each needle that has it, once
    begin, words = starts[first], length[number[first]]
    shortest = int(words.min()) if len(words) else 1
    codes, word_codes = _codes(text, begin, words)
    return Runs(
        keys, words, codes, word_codes[begin], (word_codes[begin + words] - word_codes[begin]).astype(np.int32),
        np.searchsorted(held // max(1, len(reasons)), np.arange(len(keys) + 1)), (held % max(1, len(reasons))).astype(np.int32), reasons,
        run_hashes(text.hashes, shortest)[begin + words - shortest] if len(words) else np.empty(0, np.uint64),
    )  # fmt: skip


def _codes(text: _Text, begin: Integers, words: Integers) -> tuple[NDArray[np.uint32], Integers]:
    """Code points of the words that any of the runs covers, 0 after each; and where each word of the text begins in them."""
    depth = np.zeros(len(text.word) + 1, np.int64)
    np.add.at(depth, begin, 1)
    np.add.at(depth, begin + words, -1)
    covered = np.flatnonzero(np.cumsum(depth)[:-1])
    sizes = np.zeros(len(text.word) + 1, np.int64)
    lengths = np.array([len(word) + 1 for word in text.vocabulary], np.int64)
    sizes[covered + 1] = lengths[text.word[covered]]
    joined = "".join([text.vocabulary[word] + "\0" for word in text.word[covered].tolist()])
    return np.frombuffer(joined.encode("utf-32-le"), np.uint32), np.cumsum(sizes)
