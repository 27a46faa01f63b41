"""Documents and bytes by language and repository: all that the plan needs to know of most documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from megatron_snow.common.files import beside
from megatron_snow.corpus.grouping.held_out import UNIT_TABLE, HeldOut, unit_of
from megatron_snow.corpus.grouping.placement import FACTS, facts_of
from megatron_snow.pipeline import Piece, batches_of, write_table

PAIR = ("language", "repository")
SURVEY = pa.schema([("language", pa.string()), ("repository", pa.string()), ("documents", pa.int64()), ("bytes", pa.int64())])


def survey_shard(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: documents and bytes of each (language, repository) of a shard or a piece of it."""
    tables = [SURVEY.empty_table()]
    for batch in batches_of(inputs[0], (*PAIR, "size"), parameters.get("piece")):
        facts = facts_of(batch, (*PAIR, "size")).rename_columns([*PAIR, "bytes"])
        tables.append(sums(facts.add_column(2, "documents", pa.array(np.ones(len(facts), np.int64))), PAIR))
    write_table(sums(pa.concat_tables(tables), PAIR), beside(prefix, ".parquet"))
    return {}


def sums(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """Documents and bytes by some columns, in the order of these."""
    grouped = table.group_by(list(keys)).aggregate([("documents", "sum"), ("bytes", "sum")])
    return grouped.rename_columns([*keys, "documents", "bytes"]).sort_by([(key, "ascending") for key in keys])


def by_language(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Each language with its rows, of a table in the order of languages."""
    names = table["language"].combine_chunks().dictionary_encode()
    borders = np.flatnonzero(np.diff(names.indices.to_numpy(), prepend=-1, append=-1)) if len(table) else np.zeros(0, np.int64)
    for start, stop in pairwise(borders):
        yield table["language"][int(start)].as_py(), table.slice(start, stop - start)


def finer_units(language: str, level: str, taken: HeldOut | None, pieces: Sequence[tuple[Path, Piece]]) -> pa.Table:
    """The UNIT_TABLE of a language's folders or documents: a dict of them in memory, for the few languages that need it.

    Without what is taken, and without folders of which a part is.
    """
    documents: Counter[tuple[str, str]] = Counter()
    broken: set[tuple[str, str]] = set()
    sizes: Counter[tuple[str, str]] = Counter()
    for path, piece in pieces:
        for batch in batches_of(path, FACTS, piece):
            facts = facts_of(batch)
            for row in facts.filter(pc.equal(facts["language"], language)).to_pylist():
                place = row["repository"], row["path"], row["id"]
                unit = row["repository"], unit_of(level, *place)
                if taken and taken.has(*place):
                    broken.add(unit)
                documents[unit] += 1
                sizes[unit] += row["size"]
    rows = sorted(sizes.keys() - broken, key=lambda unit: (unit[1], unit[0]))
    columns = [[repository for repository, _ in rows], [name for _, name in rows], [documents[u] for u in rows], [sizes[u] for u in rows]]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, UNIT_TABLE)], schema=UNIT_TABLE)
