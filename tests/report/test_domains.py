"""The table of phases x domains: differences are to the first phase, and what is not there is not made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import megatron_snow
from megatron_snow.config import Workspace, load_recipe, save_recipe
from megatron_snow.report import write_report
from megatron_snow.report.domains import domain_rows, markdown, notes

TINY = Path(megatron_snow.__file__).parent.parent / "examples" / "recipes" / "tiny_cpu.yaml"


def figures(loss: float, bits: float, tokens: int = 1000) -> dict[str, Any]:
    return {"loss": loss, "bits_per_byte": bits, "tokens": tokens}


def record(phase: str, step: int, **domains: Any) -> dict[str, Any]:
    return {"phase": phase, "step": step, "tokens": step * 100, "losses": {}, "bits_per_byte": {}, "domains": domains}


RECORDS = [
    record("general", 10, language={"Python": figures(2.0, 0.9), "C": figures(2.5, 1.0)}, text={"prose": figures(3.0, 1.25)}),
    record("continued", 20, language={"Python": figures(1.5, 0.675)}, text={"prose": figures(3.5, 1.5), "maths": figures(4.0, 2.0, 1234)}),
]


def test_rows_in_order_with_differences_to_the_first_phase() -> None:
    rows = {(row.group, row.name): row for row in domain_rows(RECORDS)}
    assert list(rows) == [("language", "C"), ("language", "Python"), ("text", "maths"), ("text", "prose")]
    assert rows["language", "Python"].cells() == ["0.900", "0.675 (-0.225)"]
    assert rows["text", "prose"].cells() == ["1.250", "1.500 (+0.250)"]
    assert rows["language", "C"].cells() == ["1.000", "-"]
    assert rows["text", "maths"].cells() == ["-", "2.000"]  # no difference to what there was not
    assert rows["text", "maths"].tokens == 1234
    assert {row.name: row.cells()[0] for row in domain_rows(RECORDS, "loss")}["Python"] == "2.000"


def test_markdown_has_both_figures() -> None:
    bits, loss = markdown(RECORDS).split("\n\n")
    assert bits.splitlines()[0] == "| bits per byte | | tokens | general (step 10) | continued (step 20) |"
    assert "| text | prose | 1,000 | 1.250 | 1.500 (+0.250) |" in bits
    assert "| text | prose | 1,000 | 3.000 | 3.500 (+0.500) |" in loss


def test_a_corpus_without_documentation_is_told() -> None:
    none = [record("general", 10, text={"documentation": None})]
    assert domain_rows(none)[0].cells() == ["-"]
    assert notes(none)[0].startswith("documentation: the corpus has none held out")
    assert notes(RECORDS) == []
    assert domain_rows([{"phase": "general", "step": 1, "losses": {}, "bits_per_byte": {}}]) == []


@pytest.mark.parametrize("records", [RECORDS, []])
def test_the_report_has_the_table_where_there_is_one(records: list[dict[str, Any]], tmp_path: Path) -> None:
    save_recipe(load_recipe(TINY), tmp_path / "recipe.yaml")
    workspace = Workspace(tmp_path)
    workspace.held_out_metrics.write_text("".join(json.dumps(line) + "\n" for line in records))
    page = write_report(workspace, workspace.report).read_text()
    assert ("<td>1.500 (+0.250)</td>" in page) == bool(records)
    assert ("what it cost elsewhere" in page) == bool(records)
