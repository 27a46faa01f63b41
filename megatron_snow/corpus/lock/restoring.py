"""A corpus again from its lock and mirrors: find, say what is missing, write the shards, compare their digests."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from megatron_snow.common.errors import UserError
from megatron_snow.common.explain import before_running, is_explaining
from megatron_snow.common.files import atomic_file
from megatron_snow.common.records import Manifest
from megatron_snow.config import Source
from megatron_snow.corpus.collection import write_listing
from megatron_snow.corpus.lock.blobs import find_in_git, repositories_in, state_of
from megatron_snow.corpus.lock.finding import FOUND, find_in_block
from megatron_snow.corpus.lock.header import Header, read_header
from megatron_snow.corpus.lock.wanted import Wanted, wanted_of
from megatron_snow.corpus.lock.writing import write_shard
from megatron_snow.corpus.sources import list_parts
from megatron_snow.pipeline import INLINE, WORK, Execution, Stage, Task, run_stage, write_table

MISSING = "missing.jsonl"  # in the output folder: a line a document
_SHOWN = 10  # missing documents that the message names


@dataclass(frozen=True)
class Restored:
    """What came of restoring."""

    manifest: Manifest
    shards: int
    missing: int  # documents
    exact: int  # shards with the digest that the lock says
    other_bytes: tuple[str, ...]  # shards with every row and text of the lock, written in other bytes
    written_with: str  # the pyarrow that wrote the lock's shards


def restore_corpus(
    lock: Path, sources: Sequence[Source], output: Path, execution: Execution = INLINE, *, allow_missing: bool = False, max_file_bytes: int
) -> Restored:
    """Write the shards of a lock to `output` from what `sources` have.

    UserError, and no shard, where documents are missing (they stand in OUTPUT/missing.jsonl) unless `allow_missing`, which
    leaves them out. Files are read up to `max_file_bytes`.
    """
    started = time.monotonic()
    header = read_header(lock)
    work = output / WORK
    limit = {"max_file_bytes": max_file_bytes}
    blocks = write_listing(list_parts(sources, wanted_of(lock).languages), work / "listing")
    tasks = [Task(block.name.partition(".")[0], (block, lock)) for block in blocks]
    run_stage(Stage("restore: find", 2, find_in_block, limit), tasks, work / "found", execution)
    finds = [work / "found" / f"{task.name}.parquet" for task in tasks]
    finds += _find_in_git(lock, sources, finds, work, limit, execution)
    missing = ~_found(finds, len(wanted_of(lock)))
    _report(missing, finds, wanted_of(lock), output, allow_missing)
    manifest = run_stage(Stage("restore", 1, write_shard), _shard_tasks(header, lock, finds), output, execution, started)
    return _compared(header, manifest, missing)


def _find_in_git(
    lock: Path, sources: Sequence[Source], finds: Sequence[Path], work: Path, limit: Mapping[str, int], execution: Execution
) -> list[Path]:
    """What the checkouts' other commits have of what no file has."""
    missing = np.flatnonzero(~_found(finds, len(wanted_of(lock))))
    roots = [root for source in sources if source.kind == "folder" for root in repositories_in(Path(source.path))]
    if not len(missing) or not roots:
        return []
    listing = work / "missing.parquet"
    before_running("restore: git", work / "git", f"{len(missing):,} documents are looked for in other commits")
    write_table(pa.table({"row": pa.array(missing, pa.int64())}), listing)
    states = {root: state for root in roots if (state := state_of(root))}
    tasks = [Task(f"git-{n:05d}", (listing, lock), {"repository": str(root), "state": states[root]}) for n, root in enumerate(states)]
    run_stage(Stage("restore: git", 1, find_in_git, limit), tasks, work / "git", execution)
    return [work / "git" / f"{task.name}.parquet" for task in tasks]


def _found(finds: Sequence[Path], rows: int) -> NDArray[np.bool_]:
    found = np.zeros(rows, bool)
    for path in finds:
        table = pq.read_table(path, columns=["row", "state"])
        found[table.filter(pc.equal(table["state"], FOUND))["row"].to_numpy()] = True
    return found


def _report(missing: NDArray[np.bool_], finds: Sequence[Path], wanted: Wanted, output: Path, allow_missing: bool) -> None:
    """OUTPUT/missing.jsonl; UserError where something is missing that must not be."""
    rows = np.flatnonzero(missing)
    if is_explaining():
        return
    (output / MISSING).unlink(missing_ok=True)
    if not len(rows):
        return
    states = _states(finds)
    lines: list[str] = []
    with atomic_file(output / MISSING) as file:
        for row in rows:
            state, place = states.get(int(row), ("absent", ""))
            facts = wanted.facts(int(row))
            entry = {name: facts[name] for name in ("repository", "revision", "path", "swhid", "sha256")} | {"state": state, "place": place}
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            if len(lines) < _SHOWN:
                lines.append(f"{facts['repository']} {facts['revision']} {facts['path']}: {_WORDS[state]}{f' ({place})' if place else ''}")
    lines += [f"and {len(rows) - _SHOWN:,} more"] if len(rows) > _SHOWN else []
    if not allow_missing:
        raise UserError(
            "\n  ".join([
                f"{len(rows):,} of {len(missing):,} documents are missing, {output / MISSING} names them; give a --source that has them, "
                "or --allow-missing to leave them out", *lines,
            ])
        )  # fmt: skip


_WORDS = {
    "absent": "in no source",
    "other_file": "a file of this name has other bytes",
    "other_text": "the file gives another text than it gave; use the version of megatron_snow that the lock names",
}


def _states(finds: Sequence[Path]) -> dict[int, tuple[str, str]]:
    """Row -> why a file that was there did not do, and where it lies."""
    states: dict[int, tuple[str, str]] = {}
    for path in finds:
        table = pq.read_table(path, columns=["row", "state", "place"])
        for entry in table.filter(pc.not_equal(table["state"], FOUND)).to_pylist():
            if entry["row"] not in states or entry["state"] == "other_text":
                states[entry["row"]] = (entry["state"], entry["place"])
    return states


def _shard_tasks(header: Header, lock: Path, finds: Sequence[Path]) -> list[Task]:
    """One task a shard; its inputs are the lock and the finds that have rows of it."""
    groups = {path: _ranges(path) for path in finds}
    tasks, start = [], 0
    for number, shard in enumerate(header.shards):
        end = start + shard.rows
        used = tuple(path for path, ranges in groups.items() if any(low < end and high >= start for low, high in ranges))
        tasks.append(Task(shard.name.removesuffix(".parquet"), (lock, *used), {"shard": number}))
        start = end
    return tasks


def _ranges(path: Path) -> list[tuple[int, int]]:
    metadata = pq.read_metadata(path)
    statistics = [metadata.row_group(number).column(0).statistics for number in range(metadata.num_row_groups)]
    return [(known.min, known.max) for known in statistics if known is not None]


def _compared(header: Header, manifest: Manifest, missing: NDArray[np.bool_]) -> Restored:
    """Whether the bytes are the lock's. A shard that lacks documents is neither exact nor complete."""
    exact, other, start = 0, [], 0
    for shard in header.shards:
        complete = not missing[start : start + shard.rows].any()
        start += shard.rows
        if manifest.outputs[shard.name] == shard.digest:
            exact += 1
        elif complete:
            other.append(shard.name)
    if other and header.pyarrow == pa.__version__:
        raise UserError(
            f"{other[0]}: every text is there, yet the file is not the lock's, though pyarrow is; the lock is damaged, fetch it again"
        )
    return Restored(manifest, len(header.shards), int(missing.sum()), exact, tuple(other), header.pyarrow)
