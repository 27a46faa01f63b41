"""The deduplication stage: which passes run, over what, and how many partitions they take."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from megatron_snow.common.errors import UserError
from megatron_snow.common.files import beside
from megatron_snow.common.records import Manifest, read_manifest
from megatron_snow.config import Corpus
from megatron_snow.corpus.deduplication import candidates, exact
from megatron_snow.corpus.deduplication.keeping import SUFFIXES, keep_survivors
from megatron_snow.corpus.deduplication.scattering import SETS, TABLE, scatter_shard
from megatron_snow.corpus.deduplication.signed import SUFFIX, Shape, Signed
from megatron_snow.corpus.deduplication.signing import sign_shard
from megatron_snow.corpus.deduplication.units import DIGESTS, Unit, join_pairs, make_plan, units_of
from megatron_snow.corpus.deduplication.verifying import verify_bin
from megatron_snow.corpus.outcome import gather_rejects
from megatron_snow.pipeline import INLINE, WORK, Execution, Stage, Task, run_stage, tasks_by_shard


def deduplicate(corpus: Corpus, inputs: list[Path], output: Path, execution: Execution = INLINE, against: Sequence[Path] = ()) -> Manifest:
    """Keep one document of each set of equal or nearly equal ones; `cluster_id` tells which set it was.

    `against` are outputs of earlier runs, whose documents all stay: of `inputs` those are dropped that they have, too.
    """
    return _Run(corpus, output, execution, inputs, against).all()


class _Run:
    """The passes of one run. Each reads what the ones before left in OUTPUT/work."""

    def __init__(self, corpus: Corpus, output: Path, execution: Execution, inputs: list[Path], against: Sequence[Path]) -> None:
        self.started = time.monotonic()
        self.near, self.memory, self.rejects = corpus.near_duplicates, corpus.memory_bytes, corpus.filters.rejects
        self.shape = {"ngram": self.near.ngram, "bands": self.near.bands, "rows": self.near.rows}
        self.output, self.work = output, output / WORK
        self.execution, self.here = execution, Execution(explain=execution.explain)
        self.new = tasks_by_shard(inputs)
        self.old = [shard for folder in against for shard in _shards_of(folder, output, Shape(**self.shape))]

    def all(self) -> Manifest:
        """Every pass, then the documents that stay."""
        self.run("sign", sign_shard, self.new, "signatures", self.shape, (SUFFIX,))
        units, counts = self.plan()
        plan = self.work / "plan" / "plan.json"
        first = self.survivors("exact", self.partitioned("exact", exact.find_exact, [plan], counts["documents"] * exact.BYTES))
        links = self.partitioned("candidates", candidates.find_candidates, [plan, first], counts["keys"] * candidates.BYTES)
        sizing = {"bands": self.near.bands, "memory_bytes": self.memory}
        found = self.one("components", candidates.find_components, [plan, *links], sizing)
        bins = self.work / "components" / "components.npy"
        self.run("scatter", scatter_shard, self.shards(units, bins), "sets", {"ngram": self.near.ngram}, (TABLE, SETS))
        last = self.survivors("near", self.verified(found.counts["bins"], plan, bins))
        tasks = self.shards(units, first, last, self.work / "plan" / f"plan{DIGESTS}")[len(self.old) :]
        keeping = Stage("deduplicate", 3, keep_survivors, {**asdict(self.near), "rejects": self.rejects}, SUFFIXES)
        manifest = run_stage(keeping, tasks, self.output, self.execution, self.started)
        gather_rejects(self.output, self.rejects)
        return manifest

    def plan(self) -> tuple[list[Unit], Mapping[str, int]]:
        """All units, old ones first, and how many documents and keys they have."""
        folder = self.work / "plan"
        signed = [*map(_signed, self.old), *(self.work / "signatures" / f"{task.name}{SUFFIX}" for task in self.new)]
        names = [f"old-{number}-{path.stem}" for number, path in enumerate(self.old)] + [task.name for task in self.new]
        folders = [os.path.relpath(path.parent, folder) for path in signed]
        parameters = {**self.shape, "names": names, "folders": folders, "old": len(self.old)}
        manifest = self.one("plan", make_plan, signed, parameters, (".json", DIGESTS))
        return units_of(folder / "plan.json"), manifest.counts

    def run(
        self, name: str, work: Any, tasks: Sequence[Task], folder: str, parameters: Mapping[str, Any], suffixes: tuple[str, ...] = (".npy",)
    ) -> Manifest:
        """A pass of many tasks, in a folder of its own; a single one needs no pool of processes (a second to start)."""
        here = len(tasks) == 1 and self.execution.executor == "pool"
        stage = Stage(f"deduplicate: {name}", 2, work, parameters, suffixes)
        return run_stage(stage, tasks, self.work / folder, self.here if here else self.execution)

    def one(
        self, name: str, work: Any, inputs: Sequence[Path], parameters: Mapping[str, Any], suffixes: tuple[str, ...] = (".npy",)
    ) -> Manifest:
        """A pass of one task, here."""
        stage = Stage(f"deduplicate: {name}", 2, work, parameters, suffixes)
        return run_stage(stage, [Task(name, tuple(inputs))], self.work / name, self.here)

    def partitioned(self, name: str, work: Any, inputs: Sequence[Path], size: int) -> list[Path]:
        """A pass over partitions of what takes `size` bytes together; their files."""
        partitions = max(1, -(-size // self.memory))
        tasks = [Task(f"{p:05d}", tuple(inputs), {"partition": p}, max(1, size // partitions)) for p in range(partitions)]
        self.run(name, work, tasks, f"{name}-pairs", {"partitions": partitions, "memory_bytes": self.memory})
        return [self.work / f"{name}-pairs" / f"{task.name}.npy" for task in tasks]

    def verified(self, bins: int, plan: Path, components: Path) -> list[Path]:
        """The pass over bins of candidates; its files. Its inputs are the plan and the bins, which the sets follow from."""
        sets = os.path.relpath(self.work / "sets", plan.parent)
        parameters = {"threshold": self.near.threshold, "memory_bytes": self.memory, "sets": sets}
        tasks = [Task(f"{bin:05d}", (plan, components), {"bin": bin}) for bin in range(bins)]
        self.run("verify", verify_bin, tasks, "near-pairs", parameters)
        return [self.work / "near-pairs" / f"{task.name}.npy" for task in tasks]

    def survivors(self, name: str, pairs: Sequence[Path]) -> Path:
        """One array of all documents from the pairs of a pass."""
        self.one(name, join_pairs, [self.work / "plan" / "plan.json", *pairs], {})
        return self.work / name / f"{name}.npy"

    def shards(self, units: Sequence[Unit], *also: Path) -> list[Task]:
        """A task a unit over its shard, its Signed file and others."""
        old = [Task(unit.name, (shard,)) for unit, shard in zip(units, self.old)]
        return [
            replace(task, inputs=(task.inputs[0], unit.path, *also), parameters={**task.parameters, "first": unit.first})
            for unit, task in zip(units, [*old, *self.new])
        ]


def _shards_of(folder: Path, output: Path, shape: Shape) -> list[Path]:
    """The shards of an old output; UserError where they cannot be compared with."""
    if folder.resolve() == output.resolve():
        raise UserError(f"--against {folder}: is the output, whose shards the new ones would replace; choose another --output")
    manifest = read_manifest(folder)
    names = manifest.outputs if manifest is not None and manifest.stage == "deduplicate" else {}
    shards = [folder / name for name in names if name.endswith(".parquet")]
    if not shards:
        raise UserError(f"--against {folder}: not the output of deduplicate-corpus; run it there first")
    for path in (file for shard in shards for file in (shard, _signed(shard))):
        if not path.is_file():
            raise UserError(f"--against {folder}: {path.name} is gone; restore it or run deduplicate-corpus there again")
    for path in map(_signed, shards):
        made = Signed.read(path).shape
        if made != shape:
            raise UserError(f"{path}: made with {made}, not {shape}; give the same --ngram, --bands and --rows")
    return shards


def _signed(shard: Path) -> Path:
    return beside(shard.with_name(shard.stem), SUFFIX)
