"""The decontamination stage: needles of all benchmarks, a task a shard, and what was found.

OUTPUT/benchmarks.lock.json says which files the corpus was cleaned of, OUTPUT/report.json what they hit, and with
`corpus.decontamination.semantic` OUTPUT/semantic.jsonl which functions that stay are like a solution.
"""

from __future__ import annotations

import time
from pathlib import Path

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import atomic_file
from megatron_snow.common.records import Manifest
from megatron_snow.config import Corpus, Decontamination
from megatron_snow.corpus.decontamination.lock import LOCK, check_lock
from megatron_snow.corpus.decontamination.needles import name_of
from megatron_snow.corpus.decontamination.report import write_report
from megatron_snow.corpus.decontamination.search import (
    HITS,
    LOCKED,
    NEEDLES,
    PROGRAMS,
    RUNS,
    SEMANTIC,
    decontaminate_shard,
    read_needles,
)  # fmt: skip
from megatron_snow.corpus.outcome import REJECTS, gather_rejects
from megatron_snow.pipeline import INLINE, WORK, Execution, Stage, Task, run_stage, tasks_by_shard
from megatron_snow.tasks import benchmark_path

_ALIKE = SEMANTIC.removeprefix(".")  # of all shards


def decontaminate(corpus: Corpus, inputs: list[Path], output: Path, execution: Execution = INLINE) -> Manifest:
    """Drop documents that hold text of a benchmark; SHARD.hits.jsonl beside each shard names every hit.

    UserError for a benchmark that is not there or in no known layout, and where `corpus.decontamination.lock` has others.
    """
    started = time.monotonic()
    wanted, samples = corpus.decontamination, corpus.filters.rejects
    folder = _read_needles(wanted, output / WORK / "needles", execution)
    read = (NEEDLES, RUNS, *([PROGRAMS] if wanted.semantic else []))
    written = (".parquet", HITS, REJECTS, *([SEMANTIC] if wanted.semantic else []))
    stage = Stage("decontaminate", 4, decontaminate_shard, {"ngram": wanted.ngram, "samples": samples}, written)
    tasks = tasks_by_shard(inputs, also=[folder / f"needles{suffix}" for suffix in read])
    manifest = run_stage(stage, tasks, output, execution, started)
    if execution.explains:
        return manifest
    _gather([folder / f"needles{LOCKED}"], output / LOCK)
    if wanted.semantic:
        _gather([output / f"{task.name}{SEMANTIC}" for task in tasks], output / _ALIKE)
    else:  # of a run that asked for it
        for path in (output / _ALIKE, *output.glob(f"*{SEMANTIC}")):
            path.unlink(missing_ok=True)
    gather_rejects(output, samples)
    write_report(output, manifest)
    return manifest


def _gather(parts: list[Path], path: Path) -> None:
    with atomic_file(path, "wb") as file:
        for part in parts:
            file.write(part.read_bytes())


def _read_needles(wanted: Decontamination, folder: Path, execution: Execution) -> Path:
    paths = [benchmark_path(name) for name in wanted.benchmarks]
    names = [name_of(name) for name in wanted.benchmarks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"corpus.decontamination.benchmarks: two are called {twice[0]}; rename a file or take one out")
    if wanted.lock:
        check_lock(wanted.lock, names, paths)
    parameters = {"benchmarks": names, "ngram": wanted.ngram}
    stage = Stage("decontaminate: needles", 4, read_needles, parameters, (NEEDLES, RUNS, LOCKED, PROGRAMS))
    run_stage(stage, [Task("needles", tuple(paths))], folder, Execution(explain=execution.explain))
    return folder
