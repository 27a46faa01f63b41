"""How a stage ends: counts over whatever columns a file has, and samples that no order changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from megatron_snow.common.records import read_json_lines
from megatron_snow.corpus.outcome import Outcome, gather_rejects
from megatron_snow.pipeline import batches_of, schema_of, write_table


def outcome_of(shard: Path, prefix: Path, rule: str, samples: int = 20) -> Outcome:
    """Of a stage that drops every document by one rule, or ("") none."""
    with Outcome(prefix, schema_of(shard), samples) as outcome:
        for batch in batches_of(shard):
            outcome.add(batch, [rule] * batch.num_rows)
    return outcome


@pytest.mark.parametrize("rule", ["", "dropped"])
def test_null_ids_sizes_and_contents_are_counted(rule: str, tmp_path: Path) -> None:
    columns: dict[str, Any] = {"content": ["é", "abc", None, ""], "id": ["x", None, None, None], "size": [None, 7, None, 0]}
    write_table(pa.table(columns), tmp_path / "a.parquet")
    tally = outcome_of(tmp_path / "a.parquet", tmp_path / "out", rule).tally
    assert (tally["documents"], tally["bytes"]) == (4, 2 + 7 + 0 + 0)
    assert tally[f"dropped:{rule}" if rule else "kept"] == 4
    assert len(list(read_json_lines(tmp_path / "out.rejects.jsonl"))) == (4 if rule else 0)


def test_the_sample_does_not_depend_on_the_order_of_shards(tmp_path: Path) -> None:
    """Of exact duplicates, whose ids are equal, too."""
    samples = []
    for step in (1, -1):
        rows = [{"content": "same", "repository": f"r{number}"} for number in range(30)][::step]
        folder = tmp_path / str(step)
        folder.mkdir()
        for name, part in (("a", rows[:10]), ("b", rows[10:])):
            write_table(pa.Table.from_pylist(part), tmp_path / f"{name}.parquet")
            outcome_of(tmp_path / f"{name}.parquet", folder / name, "rule", 5)
        gather_rejects(folder, 5)
        samples.append((folder / "rejects" / "rule.jsonl").read_text())
    assert samples[0] == samples[1]
    assert samples[0].count("\n") == 5
