"""The collect stage: sources to documents, with and without a limit (paper 2.1, raw data)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from megatron_snow.common.errors import UserError
from megatron_snow.common.records import Manifest
from megatron_snow.config import Corpus
from megatron_snow.corpus.collection import cap_repositories, in_seeded_order, read_block, read_listing, write_listing
from megatron_snow.corpus.selection import Room, Selection, next_round, select_blocks
from megatron_snow.corpus.sources import Part, list_parts
from megatron_snow.pipeline import INLINE, WORK, Execution, Stage, Task, run_stage


def collect(corpus: Corpus, seed: int, output: Path, execution: Execution = INLINE) -> Manifest:
    """Sources to documents (paper 2.1, raw data): repositories in a seeded order until `corpus.max_bytes` of text."""
    started = time.monotonic()
    parts = in_seeded_order(list_parts(corpus.sources), seed, corpus.first_repositories)
    if not parts:
        raise UserError("corpus.sources: nothing to read there; name at least one source that holds source code")
    if not corpus.max_bytes:
        return _collect_all(corpus, parts, output, execution)
    parts, dropped = cap_repositories(parts, round(corpus.max_repository_share * corpus.max_bytes), corpus.languages)
    limit = 0 if corpus.max_language_share >= 1 else round(corpus.max_language_share * corpus.max_bytes)
    selection = Selection(Room(corpus.max_bytes, limit), dropped)
    _read_until_full(corpus, write_listing(parts, output / WORK / "listing"), selection, output / WORK, execution)
    selecting = Stage("collect", 1, select_blocks, {"max_bytes": corpus.max_bytes, "max_language_bytes": limit})
    return run_stage(selecting, selection.tasks(), output, execution, started)


def _read_until_full(corpus: Corpus, listing: list[Path], selection: Selection, work: Path, execution: Execution) -> None:
    """Read blocks round by round, each a stage in a folder of its own, until the selection is full."""
    room, position, number = selection.room, 0, 0
    while room.left and position < len(listing):
        new = listing[position : next_round(listing, position, room)]
        blocks = work / f"round-{number:03d}"
        tasks = [_reading_task(path, room.full_languages()) for path in new]
        run_stage(_reading(corpus), tasks, blocks, execution)
        for path in new:
            selection.add(blocks / f"{path.stem}.parquet")
        position, number = position + len(new), number + 1
    selection.add_unread(listing[position:])
    for stale in sorted(work.glob("round-*"))[number:]:  # of a run with a larger limit
        shutil.rmtree(stale)


def _reading(corpus: Corpus) -> Stage:
    return Stage("collect: read", 1, read_block, {"max_file_bytes": corpus.max_file_bytes, "languages": sorted(corpus.languages)})


def _reading_task(path: Path, full_languages: Sequence[str] = ()) -> Task:
    return Task(path.stem, (path,), {"full": list(full_languages)}, size=sum(part.size for part in read_listing(path)))


def _collect_all(corpus: Corpus, parts: list[Part], output: Path, execution: Execution) -> Manifest:
    """Without a limit nothing is chosen: each block is a shard."""
    listing = write_listing(parts, output / WORK / "listing")
    tasks = [_reading_task(path) for path in listing]
    return run_stage(_reading(corpus), tasks, output, execution)
