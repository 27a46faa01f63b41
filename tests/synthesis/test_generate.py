"""Requests to documents: the real local server, and kept responses with known faults."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from megatron_snow.cli.main import run_verb
from megatron_snow.common.errors import UserError
from megatron_snow.config import Recipe, Workspace
from megatron_snow.llm.responses import ChatRequest, ChatResponse, ResponseFolder
from megatron_snow.pipeline import read_documents, shards_in
from megatron_snow.synthesis import plan_requests, synthesize_documents
from megatron_snow.tasks import load_benchmark

RECIPE = Path(__file__).parents[2] / "examples" / "recipes" / "tiny_cpu.yaml"
GOOD = '''"""Sum of the squares below n, by its closed form."""


def sum_of_squares(n: int) -> int:
    """For n = 4: 0 + 1 + 4 + 9 = 14."""
    return (n - 1) * n * (2 * n - 1) // 6
'''


def keep(workspace: Workspace, recipe: Recipe, texts: list[str]) -> list[ChatRequest]:
    """Put answers under the keys of the recipe's requests, as an earlier run would have."""
    plan = plan_requests(recipe, workspace)
    folder = ResponseFolder(workspace.synthesis("responses"), recipe.synthesis.model)
    for request, text in zip(plan.requests, texts):
        folder.keep(request, ChatResponse(text, "stop", 100, 50))
    return plan.requests


def documents(workspace: Workspace) -> Iterator[dict]:
    for shard in shards_in(workspace.synthesis("documents")):
        yield from read_documents(shard)


def test_every_answer_is_accepted_or_counted_by_reason(workspace: Workspace, recipe: Recipe) -> None:
    problem = next(problem for problem in load_benchmark("humaneval") if problem.entry_point == "sum_squares")
    leaked = problem.prompt + problem.canonical_solution
    answers = [f"```python\n{code}```" for code in (GOOD, GOOD, leaked, GOOD + "def (\n")] + ["I cannot do that.", "```python\ndef f():"]
    requests = keep(workspace, recipe, answers)
    manifest = synthesize_documents(recipe, workspace)
    assert manifest.counts == {
        "requested": 6, "answered": 6, "accepted": 1, "accepted_unparsed": 0, "prompt_tokens": 600, "completion_tokens": 300,
        "dropped:duplicate": 1, "dropped:benchmark": 1, "dropped:does_not_parse": 1, "dropped:no_code_block": 1, "dropped:unfinished": 1,
    }  # fmt: skip
    (document,) = documents(workspace)
    assert document["content"] == GOOD
    assert document["repository"] == "synthetic:smollm2-135m-instruct"
    assert document["group"] == "Python/synthetic:smollm2-135m-instruct"
    assert document["licence"] == "PSF-2.0"
    key, seed = requests[0].key(recipe.synthesis.model), plan_requests(recipe, workspace).seeds[0].id
    assert document["provenance"].split()[1:] == [f"request:{key}", f"seed:{seed}"]


def test_nothing_accepted_is_a_result(workspace: Workspace, recipe: Recipe) -> None:
    keep(workspace, recipe, ["no"] * 6)
    manifest = synthesize_documents(recipe, workspace)
    assert manifest.counts["accepted"] == 0
    assert manifest.counts["dropped:no_code_block"] == 6
    assert not list(documents(workspace))


def test_no_requests_need_no_seeds(recipe: Recipe, tmp_path: Path) -> None:
    manifest = synthesize_documents(replace(recipe, synthesis=replace(recipe.synthesis, requests=0)), Workspace(tmp_path))
    assert manifest.counts == {}
    assert manifest.outputs == {}


def test_the_real_server_answers_once(workspace: Workspace, recipe: Recipe) -> None:
    short = replace(recipe, synthesis=replace(recipe.synthesis, requests=3, max_tokens=24, seed_bytes=120))
    before = set(psutil.Process().children())  # the pool of gloo workers, where other tests have started it
    first = synthesize_documents(short, workspace)
    assert first.counts["answered"] == 3
    assert 3 <= first.counts["completion_tokens"] <= 3 * 24
    assert first.counts["accepted"] + sum(n for name, n in first.counts.items() if name.startswith("dropped:")) == 3
    responses = {path: path.stat().st_mtime_ns for path in workspace.synthesis("responses").iterdir()}
    assert set(psutil.Process().children()) <= before
    assert synthesize_documents(short, workspace) == first
    more = synthesize_documents(replace(short, synthesis=replace(short.synthesis, requests=4)), workspace)
    assert more.counts["answered"] == 4
    assert all(path.stat().st_mtime_ns == time for path, time in responses.items())  # only the fourth was asked


def test_the_local_server_has_one_model(workspace: Workspace, recipe: Recipe) -> None:
    with pytest.raises(UserError, match=r"synthesis.model: 'llama-70b' is not what the local server has"):
        synthesize_documents(replace(recipe, synthesis=replace(recipe.synthesis, model="llama-70b")), workspace)


def test_a_dead_endpoint_ends_the_verb_with_one_message(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--recipe",
        str(RECIPE),
        "--output",
        str(workspace.root),
        "--endpoint",
        "http://127.0.0.1:9/v1",
        "--set",
        "synthesis.requests=2",
    ]
    assert run_verb("synthesize", options) == 2
    captured = capsys.readouterr()
    assert "2 requests to smollm2-135m-instruct at http://127.0.0.1:9/v1, 0 already answered" in captured.out
    assert "at most 1,024 completion tokens" in captured.out
    assert "error: http://127.0.0.1:9/v1: no answer" in captured.err
    assert not workspace.synthesis("documents").exists()
