"""Which rule of a profile drops which document of a batch."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from megatron_snow.common.checksums import text_digest
from megatron_snow.corpus.filters.characters import Rows
from megatron_snow.corpus.filters.profile import OTHER_LANGUAGE, Profile, Rule
from megatron_snow.corpus.filters.statistics import Documents

COLUMNS = ("id", "path", "language", "content")
_KEPT = -1


def verdicts(profile: Profile, batch: pa.Table) -> pa.Array:
    """For each row the name of the first rule that drops it, or "" (COLUMNS are read).

    Rules are asked in order and only of documents that are still there, so what a later one costs
    depends on the earlier ones and what it says does not.
    """
    documents = Documents(batch)
    verdict = np.full(len(documents), _KEPT)
    inside = documents.in_languages(profile.languages) if profile.languages else np.ones(len(documents), bool)
    if profile.drop_others:
        verdict[~inside] = len(profile.rules)
    for number, rule in enumerate(profile.rules):
        rows = np.flatnonzero((verdict == _KEPT) & inside & _looks_at(rule, documents))
        if len(rows):
            verdict[_dropped(rule, documents, rows)] = number
    names = np.array([*(rule.name for rule in profile.rules), OTHER_LANGUAGE, ""], object)
    return pa.array(names[verdict], pa.string())


def _looks_at(rule: Rule, documents: Documents) -> NDArray[np.bool_]:
    looks = documents.in_languages(rule.only) if rule.only else np.ones(len(documents), bool)
    return looks & ~documents.in_languages(rule.exceptions) if rule.exceptions else looks


def _dropped(rule: Rule, documents: Documents, rows: Rows) -> Rows:
    found = rows[rule.finds(documents.values(rule.statistic, rows, rule.options))]
    if rule.share == 1.0 or not len(found):
        return found
    ids = documents.ids.take(pa.array(found)).to_pylist()
    return found[np.array([_fraction(f"{rule.name} {identifier}") < rule.share for identifier in ids])]


def _fraction(text: str) -> float:
    """A number in [0, 1) that looks random and is the same everywhere."""
    return int(text_digest(text)[:13], 16) / 16**13
