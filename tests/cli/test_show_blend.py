"""show-blend prints the solved mixture before anything runs, or what is wrong with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from megatron_snow.cli.main import run_verb

BUDGET = "phases.second.data=[{dataset: selected, tokens: 6_000, epochs: 5}, {dataset: general}]"


def shown(tiny_run, capsys: pytest.CaptureFixture[str], *overrides: str) -> str:  # type: ignore[no-untyped-def]
    assert run_verb("show_blend", ["--recipe", str(tiny_run.recipe), "--set", *overrides]) == 0
    return capsys.readouterr().out


def test_a_table_a_phase(tiny_run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    first, second = shown(tiny_run, capsys, "phases.second.languages={Python: 0.9}").split("\n\n")
    assert first.startswith("phase first: 20 samples of 32 tokens = 640 tokens; repeat: epochs, packing: concatenate\n")
    names = [line.split()[0] for line in second.splitlines()[1:]]
    assert names[:5] == ["source", "general/C", "general/Python", "selected/Python", "together"]
    assert [line.split()[-2] for line in second.splitlines() if line.startswith("  all ")] == ["10.00%", "90.00%"]  # C, Python
    assert "targets: Python 90.0%; the others keep their proportions" in second


def test_a_budget_and_its_warning(tiny_run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    output = shown(tiny_run, capsys, BUDGET, "phases.second.tokens=60_000", "phases.second.lr.warmup_tokens=0")
    row = next(line.split() for line in output.splitlines() if line.startswith("  selected/Python"))
    there, different, read, share, epochs = (float(value.strip("%").replace(",", "")) for value in row[1:])
    assert different < there
    assert different == pytest.approx(6_000, rel=0.1)  # documents are whole
    assert read == pytest.approx(30_000, rel=0.01)
    assert share == pytest.approx(50, abs=0.1)
    assert epochs == pytest.approx(read / different, abs=0.01)
    assert ("warning: selected/Python is read" in output) == (epochs > 4.5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("phases.second.data.1.dataset=none", "phases.second.data: dataset none: no .idx in"),
        ("phases.second.data.0={dataset: selected, tokens: 90_000_000}", "the budgets selected 90,000,000 = 90,000,000 leave nothing for"),
        ("phases.second.data=[{dataset: selected, tokens: 90_000_000}]", "the budgets make selected 90,000,000 = 90,000,000; leave it out"),
        ("phases.second={name: second, lr: {shape: constant, peak: 1}, data: [{dataset: selected, tokens: 90_000_000}]}", "there are"),
        ("phases.second.languages={Java: 0.1}", "phases.second.languages.Java: 0.1, but no dataset of the phase has that language"),
        ("model.seq_length=9_000_000", "no source has the 9000001 tokens of one sample"),
    ],
)
def test_what_cannot_be_solved(tiny_run, capsys: pytest.CaptureFixture[str], override: str, message: str) -> None:  # type: ignore[no-untyped-def]
    assert run_verb("show_blend", ["--recipe", str(tiny_run.recipe), "--set", override]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_one_phase(tiny_run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert run_verb("show_blend", ["--recipe", str(tiny_run.recipe), "--phase", "second"]) == 0
    assert capsys.readouterr().out.startswith("phase second: ")
    assert run_verb("show_blend", ["--recipe", str(tiny_run.recipe), "--phase", "scond"]) == 2
    assert "--phase scond: no such phase; did you mean second?" in capsys.readouterr().err


def test_it_needs_no_torch(tiny_run) -> None:  # type: ignore[no-untyped-def]
    script = (
        "import sys\nfrom megatron_snow.cli.main import run_verb\n"
        f"code = run_verb('show_blend', ['--recipe', {str(tiny_run.recipe)!r}])\n"
        "assert not {'torch', 'transformers', 'megatron'} & set(sys.modules)\nsys.exit(code)"
    )
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL, check=False).returncode == 0
