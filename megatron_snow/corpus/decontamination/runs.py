"""The runs of words of all needles that count, with their words, as arrays that the search reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from megatron_snow.corpus.decontamination.needles import (
    MAX_WORDS,
    MIN_OWN,
    MIN_TELLING,
    MIN_TELLING_WHOLE,
    MIN_WORDS,
    SHARED_TASKS,
    Needle,
    imports_in,
    is_own,
    known_trivial,
    tells,
)  # fmt: skip
from megatron_snow.corpus.decontamination.words import Hashes, lower, run_hashes, words_of

Integers = NDArray[np.int64]
_SEPARATOR = b"\n"


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
    previous: Integers  # the place of the same word before, -1 for none
    imports: NDArray[np.bool_]  # whether a word stands in an import


def build_runs(needles: Sequence[Needle], ngram: int) -> Runs:
    """All runs that name a task: of `ngram` words, or a whole needle with fewer or with idioms alone."""
    assert ngram <= MAX_WORDS, "config checks corpus.decontamination.ngram"
    text = _read(needles)
    counts = np.diff(text.first)
    telling, own = _telling(text)
    reasons = np.where(counts < min(MIN_WORDS, ngram), "short", np.full(len(needles), "plain", "U6"))
    starts, words = _starts(text, np.where(reasons == "short", 0, np.minimum(counts, ngram)))
    enough = _different(text, starts, words, telling) >= min(MIN_TELLING, ngram)
    enough &= _different(text, starts, words, own) >= min(MIN_OWN, ngram)
    starts, words = starts[enough], words[enough]
    idioms = (counts > ngram) & (counts <= MAX_WORDS) & ~np.isin(np.arange(len(needles)), text.needle[starts])
    whole, whole_words = _starts(text, np.where(idioms, counts, 0))
    enough = _different(text, whole, whole_words, telling) >= MIN_TELLING_WHOLE
    starts, words = np.concatenate([starts, whole[enough]]), np.concatenate([words, whole_words[enough]])
    return _own(text, starts, words, reasons, needles)


def _read(needles: Sequence[Needle]) -> _Text:
    data = [needle.text.encode() for needle in needles]
    joined = _SEPARATOR.join(data)
    hashes, starts, ends = words_of(joined.decode())
    needle = np.searchsorted(np.cumsum([len(item) + 1 for item in data]), starts, side="right")
    _, where, word = np.unique(hashes, return_index=True, return_inverse=True)
    vocabulary = [lower(joined[starts[i] : ends[i]].decode()) for i in where.tolist()]
    order = np.argsort(word, kind="stable")
    previous = np.full(len(word), -1)
    previous[order[1:]] = np.where(word[order[1:]] == word[order[:-1]], order[:-1], -1)
    edges = np.array(imports_in(joined), np.int64).reshape(-1)  # start, end, start, end, ...
    imports = np.searchsorted(edges, starts, side="right") % 2 == 1
    return _Text(hashes, vocabulary, word, needle, np.searchsorted(needle, np.arange(len(needles) + 1)), previous, imports)


def _telling(text: _Text) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which words are telling, and which of them are not Python's."""
    telling = np.array([tells(word) for word in text.vocabulary], np.bool_)[text.word] & ~text.imports
    return telling, np.array([is_own(word) for word in text.vocabulary], np.bool_)[text.word] & telling


def _starts(text: _Text, length: Integers) -> tuple[Integers, Integers]:
    """(first words, words) of every run of `length` words (a needle each; 0: none)."""
    counts = np.where(length > 0, np.diff(text.first) - length + 1, 0)
    needle = np.repeat(np.arange(len(length)), counts)
    ahead = np.arange(len(needle)) - np.repeat(np.cumsum(counts) - counts, counts)
    return text.first[needle] + ahead, length[needle]


def _different(text: _Text, starts: Integers, words: Integers, flags: NDArray[np.bool_]) -> Integers:
    """How many different words with a flag each run has."""
    different = np.zeros(len(starts), np.int64)
    for n in np.unique(words).tolist():
        chosen = np.flatnonzero(words == n)
        first = starts[chosen]
        for k in range(n):
            different[chosen] += flags[first + k] & (text.previous[first + k] < first)
    return different


def _own(text: _Text, starts: Integers, words: Integers, reasons: NDArray[np.str_], needles: Sequence[Needle]) -> Runs:
    """The runs that are neither listed as trivial nor shared by tasks."""
    hashes = np.empty(len(starts), np.uint64)
    for n in np.unique(words).tolist():
        hashes[words == n] = run_hashes(text.hashes, n, starts[words == n])
    known = [words_of(item).hashes for item in known_trivial()]
    listed = np.isin(hashes, np.concatenate([run_hashes(item, n) for item in known for n in np.unique(words).tolist()] or [hashes[:0]]))
    number = text.needle[starts]
    shared = _shared(hashes, number, needles)
    shared &= np.isin(number, number[~listed & ~shared])  # tasks that are alike in full keep what they share
    left = ~listed & ~shared
    reasons[number[listed]] = "known"
    reasons[number[left]] = ""
    same = {item.tobytes() for item in known}
    reasons[[text.hashes[first:end].tobytes() in same for first, end in zip(text.first, text.first[1:])]] = "known"
    return _arrays(text, starts[left], words[left], hashes[left], reasons)


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


def _arrays(text: _Text, starts: Integers, words: Integers, hashes: Hashes, reasons: NDArray[np.str_]) -> Runs:
    keys, first, run = np.unique(hashes, return_index=True, return_inverse=True)
    number = text.needle[starts]
    held = np.unique(run * max(1, len(reasons)) + number)  # each run with each needle that has it, once
    begin, words = starts[first], words[first]
    shortest = int(words.min()) if len(words) else 1
    codes, word_codes = _codes(text, begin, words)
    return Runs(
        keys, words, codes, word_codes[begin], (word_codes[begin + words] - word_codes[begin]).astype(np.int32),
        np.searchsorted(held // max(1, len(reasons)), np.arange(len(keys) + 1)), (held % max(1, len(reasons))).astype(np.int32), reasons,
        run_hashes(text.hashes, shortest, begin + words - shortest) if len(words) else np.empty(0, np.uint64),
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
