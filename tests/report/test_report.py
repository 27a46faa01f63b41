"""A report holds what the manifests and metrics say, opens offline, and says what was not run."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import megatron_snow
from megatron_snow.common.errors import UserError
from megatron_snow.common.records import Manifest
from megatron_snow.config import Workspace, load_recipe, save_recipe
from megatron_snow.report import write_report

TINY = Path(megatron_snow.__file__).parent.parent / "examples" / "recipes" / "tiny_cpu.yaml"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    save_recipe(load_recipe(TINY), tmp_path / "recipe.yaml")
    return Workspace(tmp_path)


class Links(HTMLParser):
    """Collects everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href") and not (value or "").startswith("#")]


def test_an_empty_run_says_not_run(workspace: Workspace) -> None:
    page = write_report(workspace, workspace.report).read_text()
    assert page.count("not run yet") == 7
    assert "pass@1" not in page


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run there"):
        write_report(Workspace(tmp_path), tmp_path / "report.html")


def test_it_shows_what_was_recorded(workspace: Workspace) -> None:
    counts = {"documents": 1234, "kept": 1000, "kept_bytes": 5_000_000, "dropped:xml": 234, "dropped:xml:<Evil & Sons>": 234}
    workspace.corpus("filtered").mkdir(parents=True)
    Manifest("filter", "k", {}, {}, counts).write(workspace.corpus("filtered"))
    workspace.corpus("test").mkdir(parents=True)
    Manifest("group", "k", {}, {}, {"kept": 17, "split_by_folder:Perl": 2, "split_by_document:SQL": 1}).write(workspace.corpus("test"))
    workspace.tokens("general").mkdir(parents=True)
    Manifest("tokenize", "k", {}, {}, {"tokens:Python": 300, "tokens:C": 100}).write(workspace.tokens("general"))
    steps = [("general", 1, 5.0), ("general", 2, 4.0), ("continued", 3, 3.25)]
    rows = [{"step": n, "tokens": n * 10**6, "phase": phase, "loss": loss, "lr": 1e-3, "grad_norm": 1.0} for phase, n, loss in steps]
    workspace.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    held = {"phase": "general", "step": 2, "tokens": 2 * 10**6, "losses": {"C": 3.5, "Python": 4.5}, "bits_per_byte": {"humaneval": 1.875}}
    workspace.held_out_metrics.write_text(json.dumps(held) + "\n")
    workspace.evaluation.mkdir()
    result = {"benchmark": "humaneval", "problems": 164, "passed": 41, "pass_at_1": 0.25, "status": "done"}
    (workspace.evaluation / "humaneval.json").write_text(json.dumps(result))
    page = write_report(workspace, workspace.report).read_text()
    for text in (
        "1,234",
        "1,000",
        "5.0 MB",
        "xml 234",
        "75.0 %",
        "25.0 %",
        "3.250",
        "4.500",
        "1.875",
        "41",
        "Perl: by folder (2 repositories); SQL: by document (1 repository)",
    ):
        assert text in page, text
    assert "&lt;Evil &amp; Sons&gt;" in page
    assert "<Evil" not in page
    assert re.search(r"<svg role=", page)
    links = Links()
    links.feed(page)
    assert links.found == []
    assert not re.search(r"url\((?!#)", page)
    assert page == write_report(workspace, workspace.report).read_text()
