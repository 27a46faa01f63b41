"""--explain of every corpus verb and of run-recipe: what is done, why the first that is not would run, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_snow.cli.main import run_verb

CHAIN = (
    ("collect_corpus", ["--max-bytes", "300000"]),
    ("filter_corpus", []),
    ("deduplicate_corpus", []),
    ("redact_corpus", []),
    ("decontaminate_corpus", ["--benchmarks", "humaneval"]),
    ("group_corpus", ["--held-out-share", "0.1"]),
)  # fmt: skip
Run = Callable[..., int]


def tree(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def command(verb: str, number: int, source: Path, folder: Path) -> list[str]:
    given = ["--source", f"folder:{source}"] if number == 0 else ["--input", str(folder / f"{number - 1}")]
    return [*given, "--output", str(folder / f"{number}"), *CHAIN[number][1]]


@pytest.fixture(scope="module")
def done(checkouts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All verbs, one after another: folders 0 to 5."""
    folder = tmp_path_factory.mktemp("explain")
    for number, (verb, _) in enumerate(CHAIN):
        assert run_verb(verb, command(verb, number, checkouts, folder)) == 0
    return folder


@pytest.fixture
def explain(done: Path, checkouts: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """explain(number, *options): the output of the verb under --explain. Asserts exit code 0 and that nothing was written."""

    def run(number: int, *options: str, output: Path | None = None) -> str:
        verb = CHAIN[number][0]
        given = command(verb, number, checkouts, done)
        if output:
            given[given.index("--output") + 1] = str(output)
        before, capsys_before = tree(done), capsys.readouterr()
        assert run_verb(verb, [*given, "--explain", *options]) == 0, capsys_before
        assert tree(done) == before
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("number", range(len(CHAIN)))
def test_what_is_done_says_so(number: int, explain: Callable[..., str]) -> None:
    told = explain(number)
    assert "would run" not in told
    assert "documents" in told


@pytest.mark.parametrize("number", range(len(CHAIN)))
def test_other_workers_are_no_reason(number: int, explain: Callable[..., str]) -> None:
    assert "would run" not in explain(number, "--executor", "pool", "--workers", "2")


@pytest.mark.parametrize(
    ("number", "options", "reason"),
    [
        (0, ("--max-bytes", "200000"), "max_bytes 300000 is now 200000"),
        (1, ("--threshold", "long_line=77"), "profile.rules[4].threshold 1000.0 is now 77.0"),
        (2, ("--threshold", "0.9"), "threshold 0.7 is now 0.9"),
        (3, ("--no-emails",), "emails True is now False"),
        (4, ("--ngram", "12"), "ngram 10 is now 12"),
        (5, ("--held-out-share", "0.2"), "held_out_share 0.1 is now 0.2"),
        (5, ("--seed", "7"), "seed 1234 is now 7"),
    ],
)
def test_a_changed_option_is_named(number: int, options: tuple[str, ...], reason: str, explain: Callable[..., str]) -> None:
    told = explain(number, *options)
    assert "would run, and all that reads its output" in told
    assert reason in told


@pytest.mark.parametrize("number", range(len(CHAIN)))
def test_a_new_output_is_not_made(number: int, explain: Callable[..., str], tmp_path: Path) -> None:
    assert "was never finished here" in explain(number, output=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.iterdir())


def test_a_recipe_is_explained_step_by_step(checkouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is there; then two steps are; then one of them has another setting."""
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE.format(workspace=tmp_path / "run", checkouts=checkouts))
    arguments = ["--recipe", str(recipe)]
    assert run_verb("run_recipe", [*arguments, "--explain"]) == 0
    assert "collect: would run" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    assert run_verb("run_recipe", [*arguments, "--until", "filter"]) == 0
    capsys.readouterr()
    before = tree(tmp_path)
    assert run_verb("run_recipe", [*arguments, "--explain"]) == 0
    told = capsys.readouterr().out
    assert "] collect: done; kept " in told
    assert "] filter: done; kept " in told
    assert "] deduplicate: would run" in told
    assert "was never finished here" in told
    assert told.count("would run") == 2  # the step and its reason; no step after it is looked at
    assert run_verb("run_recipe", [*arguments, "--explain", "--set", "corpus.filters.thresholds={long_line: 50}"]) == 0
    told = capsys.readouterr().out
    assert "] collect: done" in told
    assert "] filter: would run" in told
    assert tree(tmp_path) == before


RECIPE = """
name: small
workspace: {workspace}
workers: 1
corpus:
  sources: [{{kind: folder, path: {checkouts}}}]
  max_bytes: 200000
model: {{num_layers: 1, hidden_size: 8, ffn_hidden_size: 8, num_attention_heads: 1, num_query_groups: 1, seq_length: 16}}
tokenizer: {{vocab_size: 300}}
training: {{global_batch_size: 1, micro_batch_size: 1}}
phases: [{{name: general, data: [{{dataset: general}}], tokens: 16, lr: {{shape: constant, peak: 1.0e-3}}}}]
"""
