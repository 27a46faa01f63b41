"""pass@1 of a model on benchmarks: greedy completions, run in a sandbox.

    megatron-snow evaluate --model runs/tiny_cpu/huggingface --benchmark humaneval --output humaneval.json
    megatron-snow evaluate --recipe examples/recipes/tiny_cpu.yaml
    megatron-snow evaluate --benchmark humaneval --solutions canonical --output check.json

--benchmark takes "humaneval" or the path of a JSONL(.gz) file in HumanEval's or MBPP's layout. --recipe evaluates the run's
model on the recipe's benchmarks. --solutions canonical tries the benchmark's own solutions: all should pass.
--output is the JSON file of the result; with --recipe the run's folder. Completions are kept beside the result: the same
command again goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from megatron_snow.cli.arguments import add_recipe_arguments, recipe_of
from megatron_snow.common.errors import UserError
from megatron_snow.config import Workspace, benchmark_label

HELP = "pass@1 of a model on HumanEval or a benchmark's file, in a sandbox"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_arguments(parser, required=False)
    parser.add_argument("--model", type=Path, metavar="DIR", help="a Hugging Face folder")
    parser.add_argument("--benchmark", default="humaneval", metavar="NAME|FILE", help="default: humaneval")
    parser.add_argument("--solutions", choices=("model", "canonical"), default="model", help="canonical: the benchmark's own, no model")
    parser.add_argument("--max-new-tokens", type=int, metavar="N", help="default: the recipe's, or 512")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="of a problem; default: the recipe's, or 10")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="only the first N problems")


def run(arguments: argparse.Namespace) -> None:
    results = _of_recipe(arguments) if arguments.recipe else [_of_model(arguments)]
    print(f"{'benchmark':<24}{'problems':>9}{'passed':>8}{'pass@1':>9}{'seconds':>9}")
    for result in results:
        score = f"{100 * result['pass_at_1']:.1f} %" if result["status"] == "done" else "not run"
        print(f"{result['benchmark']:<24}{result['problems']:>9}{result['passed']:>8}{score:>9}{result['seconds']:>9.1f}")
    for result in results:
        if result["reason"]:
            print(f"{result['benchmark']}: not run: {result['reason']}")


def _of_model(arguments: argparse.Namespace) -> dict[str, Any]:
    from megatron_snow.evaluation import evaluate

    if not arguments.output:
        raise UserError("--output is missing; name the JSON file for the result")
    if arguments.solutions == "model" and not arguments.model:
        raise UserError("--model is missing; name a Hugging Face folder, or give --recipe or --solutions canonical")
    return evaluate(
        arguments.model,
        arguments.benchmark,
        Path(arguments.output),
        max_new_tokens=_at_least_one("--max-new-tokens", arguments.max_new_tokens, 512),
        timeout_seconds=_at_least_one("--timeout", arguments.timeout, 10.0),
        limit=arguments.limit,
        solutions=arguments.solutions,
    )


def _result_file(workspace: Workspace, benchmark: str, arguments: argparse.Namespace) -> Path:
    """The run's score, or a file beside it for what is not the model's score on the whole benchmark."""
    part = f".first-{arguments.limit}" if arguments.limit else ""
    other = "" if arguments.solutions == "model" else f".{arguments.solutions}"
    folder = workspace.evaluation / "trials" if part or other else workspace.evaluation
    return folder / f"{benchmark_label(benchmark)}{other}{part}.json"


def _of_recipe(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from megatron_snow.evaluation import evaluate

    recipe, workspace = recipe_of(arguments)
    settings = recipe.evaluation
    return [
        evaluate(
            arguments.model or workspace.huggingface,
            benchmark,
            _result_file(workspace, benchmark, arguments),
            max_new_tokens=_at_least_one("--max-new-tokens", arguments.max_new_tokens, settings.max_new_tokens),
            timeout_seconds=_at_least_one("--timeout", arguments.timeout, settings.timeout_seconds),
            limit=arguments.limit,
            solutions=arguments.solutions,
        )
        for benchmark in settings.benchmarks
    ]


def _at_least_one(option: str, given: Any, default: Any) -> Any:
    value = default if given is None else given
    if value < 1:
        raise UserError(f"{option} {value}: must be at least 1")
    return value
