"""A report holds what the manifests and metrics say, opens offline, and says what was not run."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

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


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def a_run_evaluated_while_training(workspace: Workspace) -> None:
    """200 steps whose loss rises at step 120; scores at steps 50 to 200, of which the one at 150 falls and the one at 200 failed."""
    losses = [3.0 + 0.01 * (step % 3) + (1.0 if step >= 120 else 0.0) for step in range(1, 201)]
    rows = [{"step": n, "tokens": n * 1000, "phase": "general", "loss": loss, "lr": 1e-3} for n, loss in enumerate(losses, 1)]
    write_lines(workspace.metrics, rows)
    held = [(50, 3.0), (100, 2.5), (150, 2.25)]
    records = [{"phase": "general", "step": n, "tokens": n * 1000, "losses": {"C": x}, "bits_per_byte": {}} for n, x in held]
    write_lines(workspace.held_out_metrics, records)
    common = {"phase": "general", "benchmark": "humaneval", "n": 164, "status": "done", "seconds": 1.0}
    scores = [{"step": n, "tokens": n * 1000, "pass_at_1": share, **common} for n, share in ((50, 0.1), (100, 0.4), (150, 0.2))]
    scores.append(common | {"step": 200, "tokens": 200_000, "pass_at_1": None, "n": 0, "status": "failed", "reason": "exit code 1"})
    write_lines(workspace.downstream_metrics, scores)


def test_loss_and_scores_stand_on_one_axis_and_divergence_is_marked_and_listed(workspace: Workspace) -> None:
    a_run_evaluated_while_training(workspace)
    page = write_report(workspace, workspace.report).read_text()
    for text in (
        "steps 100 to 150: held-out loss fell by 0.2500, humaneval pass@1 fell by 20.0 points",
        "of phase general: training loss rose from 3.010 to 4.010",
        "40.0 % of 164",
        "<td>failed</td>",
        "Loss, scores and learning rate over tokens",
        ">training loss rises<",
        ">loss and score part<",
        ">pass@1 (%)<",
    ):
        assert text in page, text
    assert "within chance" not in page
    assert len(re.findall("<td>2.250</td>", page)) == 2  # of the phase so far, and of step 150
    assert "<td>3.000</td>" in page
    assert page == write_report(workspace, workspace.report).read_text()


def test_a_run_that_goes_on_is_shown_as_far_as_it_is(workspace: Workspace) -> None:
    """Lines that are being written, a score before any held-out loss."""
    a_run_evaluated_while_training(workspace)
    workspace.held_out_metrics.unlink()
    for path in (workspace.metrics, workspace.downstream_metrics):
        with open(path, "a") as file:
            file.write('{"step": 201, "tok')
    page = write_report(workspace, workspace.report).read_text()
    assert "40.0 % of 164" in page
    assert "loss and score part" not in page


def test_scores_alone_make_a_table(workspace: Workspace) -> None:
    a_run_evaluated_while_training(workspace)
    workspace.metrics.unlink()
    page = write_report(workspace, workspace.report).read_text()
    assert "40.0 % of 164" in page
    assert "<svg" not in page
