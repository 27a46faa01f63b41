"""What a phase has taught and what it cost: losses by language, source and role, on texts given by path, of a benchmark's solutions.

Bits per byte is a figure that moves even for models too small to solve one problem, and it can be compared between tokenizers
and kinds of text, which a loss a token cannot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from megatron_snow.common.files import beside
from megatron_snow.common.progress import progress
from megatron_snow.config import Evaluation, Workspace, benchmark_label
from megatron_snow.datasets import IndexedDataset
from megatron_snow.datasets.lineage import SUFFIX
from megatron_snow.engine import Engine
from megatron_snow.tasks import load_benchmark
from megatron_snow.tokenizers import Tokenizer, load_tokenizer
from megatron_snow.training.data import dataset_prefixes
from megatron_snow.training.domains import domain_files, text_rows
from megatron_snow.training.downstream_tasks import is_due
from megatron_snow.training.held_out_rows import DOCUMENTATION, Place, Rows, documentation_rows, held_out_rows, solution_rows
from megatron_snow.training.loop import Callback, StepDone
from megatron_snow.training.metrics import StepLog
from megatron_snow.training.run import Run

GROUPS = ("language", "source", "role", "text", "solutions")  # of places, in the order of the table
DomainFigures = dict[str, dict[str, dict[str, Any] | None]]  # group -> name -> loss, bits_per_byte, tokens; None: there is no such text


class HeldOutEvaluation(Callback):
    """A line (`record_of`) at the end of each phase, and where a checkpoint's scores are taken. All ranks take part, main writes.

    What is evaluated is read at the start: a damaged file must not end a run hours later.
    """

    def __init__(self, engine: Engine, run: Run, log: StepLog | None) -> None:
        self._engine, self._log, self._downstream = engine, log, run.recipe.evaluation.downstream
        tokenizer = load_tokenizer(run.tokenizer_model)
        self._sets = read_sets(run.recipe.evaluation, run.recipe.model.seq_length, run.data, tokenizer)

    def on_step(self, done: StepDone) -> None:
        step = done.step
        if not (step.is_phase_end or is_due(step, self._downstream)):
            return
        figures = evaluate_sets(self._engine, self._sets, step.phase.name)
        if self._log is not None:
            self._log.write(record_of(step.phase.name, step.number, step.total_tokens, figures))

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


def read_sets(
    evaluation: Evaluation, seq_length: int, data: Workspace, tokenizer: Tokenizer, split: str = "held_out"
) -> dict[Place, Rows | None]:
    """All that is evaluated, by what it is; None where the corpus has no documentation held out. `split`: or "test"."""
    sets: dict[Place, Rows | None] = {}
    prefixes = dataset_prefixes(data.tokens(split)) if evaluation.held_out_sequences else []
    for prefix in prefixes:
        rows = held_out_rows(IndexedDataset(prefix), evaluation.held_out_sequences, seq_length, tokenizer)
        if rows.mask.any():
            sets["language", prefix.name] = rows
    if prefixes and _have_lineages(prefixes):
        sets[DOCUMENTATION] = documentation_rows(prefixes, evaluation.held_out_sequences, seq_length, tokenizer)
    for name, pattern in evaluation.domains.items():
        sets["text", name] = text_rows(name, domain_files(name, pattern), tokenizer, evaluation.domain_sequences, seq_length)
    for benchmark in evaluation.benchmarks:
        name = benchmark_label(benchmark)
        sets["solutions", name] = solution_rows(name, load_benchmark(benchmark), tokenizer, seq_length)
    return sets


def _have_lineages(prefixes: Sequence[Path]) -> bool:
    return all(beside(prefix, SUFFIX).is_file() for prefix in prefixes)


def evaluate_sets(engine: Engine, sets: Mapping[Place, Rows | None], label: str) -> DomainFigures:
    """The figures of every place, equal on all ranks. Each sequence is evaluated once, whatever its targets count to."""
    parts = list(sets.items())
    sums: dict[Place, list[float]] = {}  # nats, tokens, bytes
    for _, rows in progress(parts, label=f"evaluate {label}", unit="part") if engine.is_main else parts:
        for kind, (nll, count) in zip(rows.kinds, _evaluate(engine, rows)) if rows else ():
            for place in kind.places if count else ():
                before = sums.get(place, [0.0, 0, 0])
                sums[place] = [a + b for a, b in zip(before, (nll, count, kind.num_bytes))]
    figures: DomainFigures = {}
    for group in GROUPS:
        names = [name for known, name in (*sums, *(place for place, rows in parts if rows is None)) if known == group]
        if names:
            figures[group] = {name: _figures(*sums[group, name]) if (group, name) in sums else None for name in sorted(names)}
    return figures


def _figures(nll: float, tokens: float, num_bytes: float) -> dict[str, Any]:
    bits = nll / math.log(2) / num_bytes if num_bytes else None
    return {"loss": nll / tokens, "bits_per_byte": bits, "tokens": int(tokens)}


def _evaluate(engine: Engine, rows: Rows) -> list[tuple[float, int]]:
    mine = slice(engine.data_rank, None, engine.data_size)
    documents = None if rows.documents is None else torch.from_numpy(rows.documents[mine])
    kinds = None if rows.numbers is None else torch.from_numpy(rows.numbers[mine]).long()
    tokens, mask = torch.from_numpy(rows.tokens[mine]), torch.from_numpy(rows.mask[mine])
    return engine.evaluate_by_kind(tokens, mask, kinds, len(rows.kinds), documents)


def record_of(phase: str, step: int, tokens: int, figures: DomainFigures) -> dict[str, Any]:
    """A line of held_out.jsonl: losses by language, bits per byte by benchmark, and under `domains` all figures."""
    losses, bits = (
        {name: found[figure] for name, found in figures.get(group, {}).items() if found}
        for group, figure in (("language", "loss"), ("solutions", "bits_per_byte"))
    )
    return {"phase": phase, "step": step, "tokens": tokens, "losses": losses, "bits_per_byte": bits, "domains": figures}
