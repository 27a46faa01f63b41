"""What a phase has taught: held-out loss by language, bits per byte of a benchmark's solutions.

Bits per byte is a figure that moves even for models too small to solve one problem, and it can be
compared between tokenizers, which a loss a token cannot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from megatron_snow.common.progress import progress
from megatron_snow.config import benchmark_label
from megatron_snow.datasets import IndexedDataset
from megatron_snow.datasets.sources import file_starts
from megatron_snow.engine import Engine
from megatron_snow.tasks import Problem, load_benchmark
from megatron_snow.tokenizers import Tokenizer, load_tokenizer
from megatron_snow.training.data import dataset_prefixes
from megatron_snow.training.loop import Callback, StepDone
from megatron_snow.training.metrics import StepLog
from megatron_snow.training.run import Run


@dataclass(frozen=True)
class Rows:
    """Sequences to evaluate: tokens int64[n, seq + 1], mask bool[n, seq] of the targets that count, bytes of text that these spell.

    documents int32[n, seq]: numbers of the inputs' documents; None: each row is one.
    """

    tokens: np.ndarray
    mask: np.ndarray
    num_bytes: int = 0
    documents: np.ndarray | None = None


class HeldOutEvaluation(Callback):
    """At the end of each phase a line {phase, step, tokens, losses, bits_per_byte}. All ranks take part, main writes."""

    def __init__(self, engine: Engine, run: Run, log: StepLog | None) -> None:
        self._engine, self._run, self._log = engine, run, log
        self._parts: dict[tuple[str, str], Rows] | None = None

    def on_step(self, done: StepDone) -> None:
        if not done.step.is_phase_end:
            return
        if self._parts is None:
            self._parts = self._read()
        figures: dict[str, dict[str, float]] = {"losses": {}, "bits_per_byte": {}}
        parts = self._parts.items()
        shown = progress(parts, label=f"evaluate {done.step.phase.name}", unit="part", total=len(parts)) if self._engine.is_main else parts
        for (figure, name), rows in shown:
            nll, count = self._evaluate(rows)
            figures[figure][name] = nll / count if figure == "losses" else nll / math.log(2) / rows.num_bytes
        if self._log is not None:
            self._log.write({"phase": done.step.phase.name, "step": done.step.number, "tokens": done.step.total_tokens, **figures})

    def _read(self) -> dict[tuple[str, str], Rows]:
        settings, length = self._run.recipe.evaluation, self._run.recipe.model.seq_length
        parts = {}
        for prefix in dataset_prefixes(self._run.data.tokens("held_out")) if settings.held_out_sequences else ():
            rows = held_out_rows(IndexedDataset(prefix), settings.held_out_sequences, length)
            if rows.mask.any():
                parts["losses", prefix.name] = rows
        tokenizer = load_tokenizer(self._run.tokenizer_model)
        for benchmark in settings.benchmarks:
            name = benchmark_label(benchmark)
            parts["bits_per_byte", name] = solution_rows(load_benchmark(benchmark), tokenizer, length)
        return parts

    def _evaluate(self, rows: Rows) -> tuple[float, int]:
        mine = slice(self._engine.data_rank, None, self._engine.data_size)
        documents = None if rows.documents is None else torch.from_numpy(rows.documents[mine])
        return self._engine.evaluate(torch.from_numpy(rows.tokens[mine]), torch.from_numpy(rows.mask[mine]), documents)


def held_out_rows(data: IndexedDataset, count: int, seq_length: int) -> Rows:
    """Up to `count` sequences, evenly spaced over the dataset so that many repositories are met; a short dataset gives one, padded."""
    count = max(1, min(count, (data.num_tokens - 1) // seq_length))
    tokens = np.zeros((count, seq_length + 1), np.int64)
    mask = np.zeros((count, seq_length), bool)
    documents = np.zeros((count, seq_length), np.int32)
    borders = np.union1d(data.document_ends, file_starts(data))
    for row, first in enumerate(np.linspace(0, max(0, data.num_tokens - seq_length - 1), count, dtype=np.int64)):
        piece = data.read(int(first), min(seq_length + 1, data.num_tokens))
        tokens[row, : len(piece)] = piece
        mask[row, : max(0, len(piece) - 1)] = True
        documents[row] = np.searchsorted(borders, first + np.arange(seq_length), side="right")
    return Rows(tokens, mask, documents=documents)


def solution_rows(problems: Sequence[Problem], tokenizer: Tokenizer, seq_length: int) -> Rows:
    """A row a problem: end of document, prompt, canonical solution; only the solution's tokens count.

    What does not fit is cut: the prompt at its start, a solution longer than a sequence at its end.
    """
    tokens = np.full((len(problems), seq_length + 1), tokenizer.eod, np.int64)
    mask = np.zeros((len(problems), seq_length), bool)
    num_bytes = 0
    for row, problem in enumerate(problems):
        solution = tokenizer.encode(problem.canonical_solution)
        text = problem.canonical_solution if len(solution) <= seq_length else tokenizer.decode(solution[:seq_length])
        solution = solution[:seq_length]
        prompt = [tokenizer.eod, *tokenizer.encode(problem.prompt)][-(seq_length + 1 - len(solution)) :]
        tokens[row, : len(prompt) + len(solution)] = prompt + solution
        mask[row, len(prompt) - 1 : len(prompt) + len(solution) - 1] = True
        num_bytes += len(text.encode("utf-8"))
    return Rows(tokens, mask, num_bytes)
