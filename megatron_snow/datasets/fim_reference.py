"""Fill in the middle where csrc/data is not built: what csrc/data/fim.cpp does, with the same result. `fim` says what it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
SENTINELS = 3  # a permuted document
LEAST_TOKENS = 10  # of a document that is permuted; shorter ones are more sentinel than text (bigcode's fork takes more than 10)
NONE = -1  # in place of an id that the vocabulary does not have


class FimTokens(NamedTuple):
    """The ids that matter; NONE where a vocabulary has none of that kind."""

    prefix: int
    middle: int
    suffix: int
    eod: int
    file_separator: int = NONE
    repository: int = NONE
    beginning: int = NONE


class _Documents(NamedTuple):
    """Stretches of text in a batch: row, then places in the row."""

    rows: Numbers
    starts: Numbers
    stops: Numbers

    def take(self, which: NDArray) -> _Documents:
        return _Documents(*(column[which] for column in self))


def permute_rows(
    tokens: Numbers, segments: NDArray[np.int32], samples: Numbers, ids: FimTokens, key: int, *, rate: int, spm_rate: int, unit: str
) -> None:
    """`fill_in_middle` with its rates in 2^-32."""
    documents = _find(tokens, segments, unit, ids)
    draws = _draw(key, samples[documents.rows], _ranks(documents.rows))
    chosen = draws[0] < np.uint64(rate)
    documents, draws = documents.take(chosen), [draw[chosen] for draw in draws]
    # Sentinels push the tail out: what is left of a row for text, once this document and those before it have theirs.
    stops = np.minimum(documents.stops, tokens.shape[1] - SENTINELS * (_ranks(documents.rows) + 1))
    fits = stops - documents.starts >= LEAST_TOKENS  # where one does not, none behind it in the row does
    documents, draws = documents._replace(stops=stops).take(fits), [draw[fits] for draw in draws]
    choices = (documents.stops - documents.starts + 1).astype(np.uint64)
    cuts = np.sort([(draw * choices >> np.uint64(32)).astype(np.int64) for draw in draws[2:]], axis=0) + documents.starts
    spm = draws[1] < np.uint64(spm_rate)
    borders = np.flatnonzero(np.diff(documents.rows, prepend=-1, append=-1)) if len(spm) else np.zeros(0, np.int64)
    for first, last in zip(borders[:-1].tolist(), borders[1:].tolist()):
        row, here = documents.rows[first], slice(first, last)
        places = np.stack([documents.starts, *cuts, documents.stops, spm], axis=1)[here].tolist()
        tokens[row] = _permute(tokens[row], places, ids)
        segments[row] = _lengthen(segments[row], documents.starts[here], documents.stops[here])


def _find(tokens: Numbers, segments: NDArray[np.int32], unit: str, ids: FimTokens) -> _Documents:
    """The stretches that may be permuted, in order."""
    width = tokens.shape[1]
    text, numbers = np.ascontiguousarray(tokens).ravel(), np.ascontiguousarray(segments).ravel()
    fixed = text == ids.eod
    for token in (ids.file_separator, ids.repository, ids.beginning):
        if token != NONE:
            fixed |= text == token
    places, changes = np.flatnonzero(fixed), np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
    if unit == "document":
        changes = changes[text[changes - 1] != ids.file_separator]
        places = places[_is_outer(places, text, numbers, width, ids)]
    edges = np.arange(len(tokens)) * width
    starts = np.sort(np.concatenate([edges, changes, places + 1]))
    stops = np.sort(np.concatenate([edges + width, changes, places]))
    long = stops - starts >= LEAST_TOKENS
    starts, stops = starts[long], stops[long]
    rows = starts // width
    starts, stops = starts - rows * width, stops - rows * width
    is_name = (starts > 0) & (tokens[rows, starts - 1] == ids.repository) | _is_rest_of_name(tokens, segments, rows, starts, stops, ids)
    return _Documents(rows, starts, stops).take(~is_name)


def _is_rest_of_name(  # the row begins inside of "<repo_name>NAME<file_sep>": the first separator does not end a file
    tokens: Numbers, segments: NDArray[np.int32], rows: Numbers, starts: Numbers, stops: Numbers, ids: FimTokens
) -> NDArray[np.bool_]:
    inside = np.minimum(stops, tokens.shape[1] - 2)
    separated = (stops == inside) & (tokens[rows, inside] == ids.file_separator)
    return (starts == 0) & separated & (segments[rows, inside] == segments[rows, inside + 1])


def _is_outer(places: Numbers, text: Numbers, numbers: NDArray[np.int32], width: int, ids: FimTokens) -> NDArray[np.bool_]:
    """Which of the fixed tokens bound a document: all but the <file_sep> between its files."""
    kinds, rows = text[places], places // width
    first = np.diff(rows, prepend=-1) > 0
    after_name = ~first & (np.roll(kinds, 1) == ids.repository)
    following = np.minimum(places + 1, len(text) - 1)
    rest_of_name = first & (places % width < width - 1) & (numbers[places] == numbers[following])
    return (kinds != ids.file_separator) | after_name | rest_of_name


def _permute(row: Numbers, places: list[list[int]], ids: FimTokens) -> Numbers:
    """One row of the same length; `places`: (start, first cut, second cut, stop, SPM) of its documents."""
    parts, done = [], 0
    prefix, middle, suffix = ([token] for token in (ids.prefix, ids.middle, ids.suffix))
    for start, first, second, stop, spm in places:
        before, left, asked, right = row[done:start], row[start:first], row[first:second], row[second:stop]
        parts += [before, prefix, suffix, right, middle, left, asked] if spm else [before, prefix, left, suffix, right, middle, asked]
        done = stop
    return np.concatenate([*parts, row[done:]])[: len(row)]


def _lengthen(segments: NDArray[np.int32], starts: Numbers, stops: Numbers) -> NDArray[np.int32]:
    """The segments of a permuted row: each permuted document is one, with its sentinels and the separator that ends it."""
    counts = np.ones(len(segments), np.int64)
    counts[starts] += SENTINELS
    merged = segments.copy()
    for start, stop in zip(starts.tolist(), stops.tolist()):
        last = segments[stop - 1]
        if last != segments[start]:
            stop += int(stop < len(segments) and segments[stop] == last)
            merged[start:stop] = segments[start]
    lengthened = np.repeat(merged, counts)[: len(segments)]
    numbers = np.cumsum(np.diff(lengthened, prepend=lengthened[0]) != 0, dtype=np.int32)
    return np.where(lengthened < 0, lengthened, numbers)


def _ranks(rows: Numbers) -> Numbers:
    """0, 1, 2 ... within each row, of rows in order."""
    return np.arange(len(rows)) - np.searchsorted(rows, rows)


def _draw(key: int, samples: Numbers, numbers: Numbers) -> list[NDArray[np.uint64]]:
    """Four independent values in range(2^32) a document: permute it, SPM, two cuts."""
    seeds = _mix(np.array([key], np.uint64))  # small keys must not add up with small numbers
    seeds = _mix(_mix(seeds + samples.astype(np.uint64)) + numbers.astype(np.uint64))
    return [_mix(seeds + np.uint64(n)) >> np.uint64(32) for n in range(4)]


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of splitmix64 (Steele et al. 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
