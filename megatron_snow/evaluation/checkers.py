"""From a problem and a completion to a program, and from the program to a verdict in the sandbox."""

from __future__ import annotations

import os
from collections.abc import Sequence

from megatron_snow.common.errors import UserError
from megatron_snow.common.progress import progress
from megatron_snow.sandbox import Outcome, run_many
from megatron_snow.tasks import Problem

# What begins a statement behind a finished function (Codex paper, 3.1; evalplus adds the imports, assert and decorators).
_AFTER_A_FUNCTION = (
    "\nclass ",
    "\ndef ",
    "\nasync def ",
    "\n#",
    "\n@",
    "\nif ",
    "\nprint(",
    "\nassert ",
    "\nimport ",
    "\nfrom ",
    "\n```",
    '\n"""',
)
# What begins something else behind a whole program (evalplus, MBPP).
_AFTER_A_PROGRAM = ('\n"""', "\nassert ", "\nif __name__", "\ndef main(", "\nprint(", "\n```")


def given_prompt(problem: Problem) -> str:
    """What the model sees: the prompt without its trailing newlines (paper 3.3)."""
    return problem.prompt.rstrip("\n")


def stop_strings(problem: Problem) -> tuple[str, ...]:
    """Where a completion ends: HumanEval's go on inside of the function, MBPP's write it from its first line."""
    return _AFTER_A_FUNCTION if f"def {problem.entry_point}(" in problem.prompt else _AFTER_A_PROGRAM


def cut_at_stop(completion: str, stops: Sequence[str]) -> str:
    """The completion up to the first stop string."""
    return completion[: min((place for stop in stops if (place := completion.find(stop)) >= 0), default=len(completion))]


def canonical_completion(problem: Problem) -> str:
    """The benchmark's own solution as a completion of `given_prompt`."""
    return problem.prompt[len(given_prompt(problem)) :] + problem.canonical_solution


def program_of(problem: Problem, completion: str) -> str:
    """The source whose running to its end is a pass."""
    return f"{given_prompt(problem)}{completion}\n\n{problem.test}\n\ncheck({problem.entry_point})\n"


def check_completions(
    problems: Sequence[Problem], completions: Sequence[str], *, timeout_seconds: float, workers: int = 0
) -> list[Outcome]:
    """The verdict on a completion of each problem; `workers` 0: one a core. SandboxUnavailable where there is no sandbox."""
    others = {problem.language for problem in problems} - {"Python"}
    if others:
        raise UserError(f"{', '.join(sorted(others))}: only Python solutions can be checked; leave the others out of the benchmark's file")
    programs = [program_of(problem, completion) for problem, completion in zip(problems, completions, strict=True)]
    outcomes = run_many(programs, timeout_seconds=timeout_seconds, workers=workers or os.cpu_count() or 1)
    return list(progress(outcomes, label="check in the sandbox", unit="problem", total=len(programs)))
