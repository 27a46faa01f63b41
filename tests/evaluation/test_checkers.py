"""The checker on the benchmarks' own solutions, on wrong ones, and where completions end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from megatron_snow import sandbox
from megatron_snow.common.errors import UserError
from megatron_snow.evaluation.checkers import canonical_completion, check_completions, cut_at_stop, given_prompt, stop_strings
from megatron_snow.tasks import Problem, load_benchmark

BENCHMARK_FILES = Path(os.environ.get("MEGATRON_SNOW_BENCHMARKS", Path(__file__).parents[3] / "shared" / "benchmarks"))
needs_sandbox = pytest.mark.skipif(not sandbox.available()[0], reason=sandbox.available()[1])


@needs_sandbox
def test_all_164_canonical_solutions_pass() -> None:
    problems = load_benchmark("humaneval")
    outcomes = check_completions(problems, [canonical_completion(problem) for problem in problems], timeout_seconds=20.0)
    assert {problem.task_id: outcome for problem, outcome in zip(problems, outcomes) if outcome.status != "passed"} == {}
    assert len(outcomes) == 164


@needs_sandbox
def test_other_answers_do_not_pass() -> None:
    problems = load_benchmark("humaneval")[:6]
    wrong = ["\n    return None", "\n    pass", "\n    exit()", "\n    import os; os._exit(0)", "\n  return", "\n    while True: pass"]
    outcomes = check_completions(problems, wrong, timeout_seconds=1.0)
    assert [outcome.status for outcome in outcomes] == ["failed"] * 5 + ["timeout"]


@needs_sandbox
@pytest.mark.parametrize(("name", "first"), [("mbpp-sanitized", 40), ("humanevalplus-v0.1.10", 12)])
def test_canonical_solutions_of_published_files(name: str, first: int) -> None:
    path = BENCHMARK_FILES / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the checkout")
    problems = load_benchmark(path)[:first]
    outcomes = check_completions(problems, [canonical_completion(problem) for problem in problems], timeout_seconds=30.0)
    assert [outcome for outcome in outcomes if outcome.status != "passed"] == []


def test_prompts_lose_their_trailing_newlines_only() -> None:
    for problem in load_benchmark("humaneval"):
        assert not given_prompt(problem).endswith("\n")
        assert given_prompt(problem) + canonical_completion(problem) == problem.prompt + problem.canonical_solution


def test_no_canonical_solution_of_humaneval_is_cut() -> None:
    for problem in load_benchmark("humaneval"):
        completion = canonical_completion(problem)
        cut = cut_at_stop(completion, stop_strings(problem))
        assert completion[len(cut) :].strip() == "", problem.task_id


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("\n    return 1\n\ndef other():\n    pass", "\n    return 1\n"),
        ("\n    return 1\n# next\nprint(1)", "\n    return 1"),
        ("\n    if x:\n        return 1\n    # inside\n", "\n    if x:\n        return 1\n    # inside\n"),
        ("\n    classify = 1\n    return classify", "\n    classify = 1\n    return classify"),
    ],
)
def test_a_function_ends_where_another_statement_begins(text: str, kept: str) -> None:
    problem = Problem("T/0", "def f():\n", "f", "", "")
    assert cut_at_stop(text, stop_strings(problem)) == kept


def test_a_program_may_define_its_function() -> None:
    problem = Problem("Mbpp/1", '"""\nWrite f.\n"""\n', "f", "", "")
    assert (
        cut_at_stop("\nimport math\ndef f():\n    return 1\n\nassert f() == 1", stop_strings(problem))
        == "\nimport math\ndef f():\n    return 1\n"
    )


def test_other_languages_are_refused() -> None:
    with pytest.raises(UserError, match="Java: only Python"):
        check_completions([Problem("T/0", "p", "f", "c", "t", language="Java")], ["x"], timeout_seconds=1.0)
