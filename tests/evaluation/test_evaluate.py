"""From a folder to a result: what is written, what is resumed, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from megatron_snow import sandbox
from megatron_snow.cli.main import run_verb
from megatron_snow.common.errors import UserError
from megatron_snow.evaluation import completions as completions_module
from megatron_snow.evaluation import evaluate
from megatron_snow.evaluation.checkers import canonical_completion
from megatron_snow.evaluation.completions import complete_benchmark, model_digest
from megatron_snow.evaluation.generate import Generator
from megatron_snow.tasks import load_benchmark

needs_sandbox = pytest.mark.skipif(not sandbox.available()[0], reason=sandbox.available()[1])


@needs_sandbox
def test_a_random_model_is_scored(tmp_path: Path, model_folder: Path) -> None:
    output = tmp_path / "humaneval.json"
    result = evaluate(model_folder, "humaneval", output, max_new_tokens=24, timeout_seconds=5.0, limit=5)
    assert json.loads(output.read_text()) == result
    assert (result["status"], result["problems"], result["passed"], result["pass_at_1"], result["reason"]) == ("done", 5, 0, 0.0, "")
    assert result["outcomes"] == {"failed": 5}
    assert list(result["verdicts"]) == [f"HumanEval/{number}" for number in range(5)]
    assert result["model"] == model_digest(model_folder)
    assert result["generation"]["tokens"] == 5 * 24
    assert len((tmp_path / "humaneval.completions.jsonl").read_text().splitlines()) == 6


@needs_sandbox
def test_right_completions_pass_and_are_not_generated_again(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problems, file = load_benchmark("humaneval")[:4], tmp_path / "a.completions.jsonl"
    evaluate(model_folder, "humaneval", tmp_path / "a.json", max_new_tokens=4, limit=4)
    header = file.read_text().splitlines()[0]
    answers = [canonical_completion(problem) for problem in problems[:3]] + ["\n    return 0"]
    lines = [json.dumps({"task_id": problem.task_id, "completion": answer}) for problem, answer in zip(problems, answers)]
    file.write_text("\n".join([header, *lines]) + "\n")
    monkeypatch.setattr(Generator, "load", None)
    (tmp_path / "a.json").unlink()
    result = evaluate(model_folder, "humaneval", tmp_path / "a.json", max_new_tokens=4, limit=4)
    assert (result["passed"], result["pass_at_1"], result["generation"]["tokens"]) == (3, 0.75, 0)
    file.unlink()
    assert evaluate(model_folder, "humaneval", tmp_path / "a.json", max_new_tokens=4, limit=4) == result


def test_an_interrupted_run_ends_with_the_same_bytes(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions_module, "BATCH_SIZE", 4)
    problems = load_benchmark("humaneval")[:11]
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    first = complete_benchmark(model_folder, "digest", problems, whole, 8)
    assert first.tokens == 11 * 8
    lines = whole.read_bytes().splitlines(keepends=True)
    cut.write_bytes(b"".join(lines[:7]) + lines[7][:10])  # a batch, half of the next, and a torn line
    second = complete_benchmark(model_folder, "digest", problems, cut, 8)
    assert second.tokens == 7 * 8
    assert cut.read_bytes() == whole.read_bytes()
    assert second.completions == first.completions
    assert complete_benchmark(model_folder, "digest", problems, cut, 8).tokens == 0
    assert complete_benchmark(model_folder, "another model", problems, cut, 8).tokens == 11 * 8


def test_without_a_sandbox_it_is_not_run(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "available", lambda: (False, "user namespaces are off"))
    result = evaluate(model_folder, "humaneval", tmp_path / "a.json", max_new_tokens=4)
    assert (result["status"], result["reason"], result["problems"]) == ("not run", "user namespaces are off", 164)
    assert json.loads((tmp_path / "a.json").read_text()) == result
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such folder"):
        evaluate(tmp_path / "nowhere", "humaneval", tmp_path / "a.json")
    assert not (tmp_path / "a.json").exists()


@needs_sandbox
def test_verb(tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "a.json")
    assert run_verb("evaluate", ["--solutions", "canonical", "--benchmark", "humaneval", "--limit", "3", "--output", output]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == ["humaneval", "3", "3", "100.0"]
    for arguments, message in [
        (["--output", output], "--model is missing"),
        (["--model", str(model_folder)], "--output is missing"),
        (["--model", str(model_folder), "--output", output, "--benchmark", "humanevil"], "did you mean humaneval?"),
        (["--model", str(model_folder), "--output", output, "--max-new-tokens", "0"], "--max-new-tokens 0: must be at least 1"),
    ]:
        assert run_verb("evaluate", arguments) == 2
        assert message in capsys.readouterr().err
