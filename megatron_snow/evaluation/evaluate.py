"""pass@1 of a model on a benchmark (paper 3.3: greedy, trailing newlines of prompts stripped)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from megatron_snow import sandbox
from megatron_snow.common.checksums import value_digest
from megatron_snow.common.errors import UserError
from megatron_snow.common.explain import before_running
from megatron_snow.common.records import read_json, write_json
from megatron_snow.config import benchmark_label
from megatron_snow.evaluation.checkers import canonical_completion, check_completions
from megatron_snow.evaluation.completions import complete_benchmark, model_digest
from megatron_snow.evaluation.scores import mean_pass_at_k
from megatron_snow.sandbox import Outcome
from megatron_snow.tasks import Problem, load_benchmark


def evaluate(
    model_folder: Path | None,
    benchmark: str,
    output_json: Path,
    *,
    max_new_tokens: int = 512,
    timeout_seconds: float = 10.0,
    limit: int = 0,
    workers: int = 0,
    solutions: Literal["model", "canonical"] = "model",
) -> dict[str, Any]:
    """Complete, run and score; writes and returns the result.

    Keys: benchmark, problems, passed, pass_at_1, status ("done" | "not run"), reason, seconds, model (digest), outcomes (count of
    each status), generation and, by task, verdicts. Completions stay beside it (NAME.completions.jsonl), so an interrupted
    evaluation goes on; a result of the same model, problems and settings is returned as it stands. Where no sandbox can be
    had nothing is run: status "not run" with the reason. `limit` takes the first problems, `solutions="canonical"` checks
    the benchmark's own in place of a model's.
    """
    started = time.monotonic()
    problems = load_benchmark(benchmark)[: limit or None]
    model = model_digest(_checked(model_folder)) if solutions == "model" else ""
    key = value_digest([[vars(problem) for problem in problems], model, max_new_tokens, timeout_seconds])
    if output_json.is_file() and (earlier := read_json(output_json)).get("key") == key and earlier["status"] == "done":
        return dict(earlier)
    before_running(f"evaluation on {benchmark_label(benchmark)}", output_json, "there is no score of this model with these settings")
    result: dict[str, Any] = {"benchmark": benchmark_label(benchmark), "problems": len(problems), "solutions": solutions, "key": key}
    usable, reason = sandbox.available()
    if not usable:
        result |= {"passed": 0, "pass_at_1": 0.0, "status": "not run", "reason": reason}
    else:
        completions, details = _completions(model_folder, problems, output_json, max_new_tokens, solutions)
        outcomes = check_completions(problems, completions, timeout_seconds=timeout_seconds, workers=workers)
        result |= _scores(problems, outcomes) | {"status": "done", "reason": ""} | details
    result["seconds"] = round(time.monotonic() - started, 2)
    write_json(output_json, result)
    return result


def _checked(model_folder: Path | None) -> Path:
    if model_folder is None or not model_folder.is_dir():
        raise UserError(f"{model_folder}: no such folder; give a Hugging Face folder, `megatron-snow convert-to-hf` writes one")
    return model_folder


def _completions(
    model_folder: Path | None, problems: Sequence[Problem], output_json: Path, max_new_tokens: int, solutions: str
) -> tuple[list[str], dict[str, Any]]:
    if solutions == "canonical":
        return [canonical_completion(problem) for problem in problems], {}
    model_folder = _checked(model_folder)
    digest = model_digest(model_folder)
    generation = complete_benchmark(model_folder, digest, problems, output_json.with_suffix(".completions.jsonl"), max_new_tokens)
    figures: dict[str, Any] = {"max_new_tokens": max_new_tokens, "tokens": generation.tokens, "seconds": round(generation.seconds, 2)}
    if generation.tokens:
        figures |= {"tokens_per_second": round(generation.tokens / generation.seconds, 1), "beyond_context": generation.beyond_context}
    return generation.completions, {"model": digest, "generation": figures}


def _scores(problems: Sequence[Problem], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    passed = [outcome.status == "passed" for outcome in outcomes]
    return {
        "passed": sum(passed),
        "pass_at_1": mean_pass_at_k(((1, int(right)) for right in passed), 1),
        "outcomes": dict(sorted(Counter(outcome.status for outcome in outcomes).items())),
        "verdicts": {problem.task_id: _verdict(outcome) for problem, outcome in zip(problems, outcomes)},
    }


def _verdict(outcome: Outcome) -> str:
    return f"{outcome.status}: {outcome.detail[:200]}" if outcome.detail else outcome.status
