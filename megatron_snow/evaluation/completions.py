"""Completions of a benchmark in a JSONL file: what is there already is not generated again.

The first line says of what they are (model, problems, limits): another model starts a new file. Batches are the same
whatever was done before, and a batch is kept whole or not at all, so an interrupted run ends with the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from megatron_snow.common.checksums import file_digest, value_digest
from megatron_snow.common.files import atomic_file
from megatron_snow.common.progress import progress_bar
from megatron_snow.common.records import read_json_lines
from megatron_snow.evaluation.checkers import cut_at_stop, given_prompt, stop_strings
from megatron_snow.tasks import Problem

BATCH_SIZE = 41  # a quarter of HumanEval


@dataclass(frozen=True)
class Generation:
    """What was generated, and what it took this time."""

    completions: list[str]  # in the order of the problems
    tokens: int  # generated now, padding of finished rows included
    seconds: float
    beyond_context: int | None  # problems whose prompt and completion exceed the trained context; None: nothing was loaded


def model_digest(folder: Path) -> str:
    """One digest of the weights, configuration and tokenizer in a Hugging Face folder."""
    kept = (path for path in sorted(folder.iterdir()) if path.suffix in (".safetensors", ".json", ".model", ".jinja"))
    return value_digest({path.name: file_digest(path) for path in kept if path.name != "conversion.json"})


def complete_benchmark(model_folder: Path, digest: str, problems: Sequence[Problem], file: Path, max_new_tokens: int) -> Generation:
    """Complete each problem greedily, adding to `file` batch by batch; the texts are cut at their stop strings."""
    header = {"model": digest, "problems": value_digest([problem.prompt for problem in problems]), "max_new_tokens": max_new_tokens}
    done = _read(file, header)
    by_length = sorted(problems, key=lambda problem: len(problem.prompt))  # rows of like length need little padding
    batches = [by_length[start : start + BATCH_SIZE] for start in range(0, len(by_length), BATCH_SIZE)]
    missing = [batch for batch in batches if any(problem.task_id not in done for problem in batch)]
    tokens, seconds, beyond = 0, 0.0, None
    if missing:
        _write(file, header, [problem for batch in batches if batch not in missing for problem in batch], done)
        tokens, seconds, beyond = _generate(model_folder, missing, file, done, max_new_tokens)
    return Generation([done[problem.task_id] for problem in problems], tokens, seconds, beyond)


def _generate(
    model_folder: Path, batches: Sequence[Sequence[Problem]], file: Path, done: dict[str, str], max_new_tokens: int
) -> tuple[int, float, int]:
    from megatron_snow.evaluation.generate import Generator

    generator = Generator.load(model_folder)
    count = sum(map(len, batches))
    prompts = [len(generator.encode(given_prompt(problem))) for batch in batches for problem in batch]
    beyond = sum(length + max_new_tokens > generator.context for length in prompts) if generator.context else 0
    with (
        progress_bar(count * max_new_tokens, label=f"complete {count} problems", unit="tok") as bar,
        open(file, "a", encoding="utf-8") as out,
    ):
        for number, batch in enumerate(batches, 1):
            bar.set_postfix_str(f"batch {number} of {len(batches)}")
            goal, rows, stops = int(bar.n) + len(batch) * max_new_tokens, len(batch), [stop_strings(problem) for problem in batch]
            texts = generator.complete([given_prompt(problem) for problem in batch], stops, max_new_tokens, partial(bar.update, rows))
            done |= {problem.task_id: cut_at_stop(text, own) for problem, text, own in zip(batch, texts, stops)}
            out.write("".join(_line(problem, done) for problem in batch))
            out.flush()
            bar.total = (bar.total or 0) - (goal - bar.n)  # the batch stopped before its limit
        return int(bar.n), float(bar.format_dict["elapsed"]), beyond


def _line(problem: Problem, done: dict[str, str]) -> str:
    return json.dumps({"task_id": problem.task_id, "completion": done[problem.task_id]}, ensure_ascii=False) + "\n"


def _read(file: Path, header: dict[str, Any]) -> dict[str, str]:
    """The completions in `file` by task, none when it is of something else."""
    lines = read_json_lines(file) if file.is_file() else iter(())
    if next(lines, None) != header:
        return {}
    return {line["task_id"]: line["completion"] for line in lines}


def _write(file: Path, header: dict[str, Any], problems: Sequence[Problem], done: dict[str, str]) -> None:
    """Start the file anew with its header and the whole batches that are done."""
    with atomic_file(file) as out:
        out.write(json.dumps(header) + "\n")
        out.write("".join(_line(problem, done) for problem in problems))
