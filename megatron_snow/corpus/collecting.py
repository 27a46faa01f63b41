"""The collect stage: sources to documents, with and without a limit (paper 2.1, raw data)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from megatron_snow.common.errors import UserError
from megatron_snow.common.records import Manifest
from megatron_snow.config import Corpus
from megatron_snow.corpus.collection import cap_repositories, in_seeded_order, read_block, read_listing, write_listing
from megatron_snow.corpus.opt_out import read_opt_out
from megatron_snow.corpus.outcome import REJECTS, gather_rejects
from megatron_snow.corpus.selection import Room, Selection, next_round, select_blocks
from megatron_snow.corpus.sources import Limits, Part, list_parts
from megatron_snow.pipeline import INLINE, WORK, Execution, Stage, Task, folder_of_ours, run_stage

_SUFFIXES = (".parquet", REJECTS)


def collect(corpus: Corpus, seed: int, output: Path, execution: Execution = INLINE) -> Manifest:
    """Sources to documents (paper 2.1, raw data): repositories in a seeded order until `corpus.max_bytes` of text."""
    started = time.monotonic()
    if corpus.opt_out:
        read_opt_out(Path(corpus.opt_out))  # a list that is missing or damaged is told before anything is read
    parts = in_seeded_order(list_parts(corpus.sources, corpus.languages), seed, corpus.first_repositories)
    if not parts:
        raise UserError("corpus.sources: nothing to read there; name at least one source that holds source code")
    if not corpus.max_bytes:
        return _collect_all(corpus, parts, output, execution)
    room = Room(corpus.max_bytes, _bytes_of(corpus, corpus.max_language_share), _bytes_of(corpus, corpus.max_repository_share))
    limits = Limits(corpus.max_file_bytes, languages=frozenset(corpus.languages))
    parts, dropped = cap_repositories(parts, room.max_repository_bytes, limits)
    selection = Selection(room, dropped)
    with _listed(parts, output, execution) as listing:
        _read_until_full(corpus, listing, selection, output / WORK, execution)
        selecting = Stage("collect", 2, select_blocks, room.limits, _SUFFIXES)
        return _gathered(corpus, run_stage(selecting, selection.tasks(), output, execution, started), output, execution)


def _gathered(corpus: Corpus, manifest: Manifest, output: Path, execution: Execution) -> Manifest:
    """The manifest; a sample of what was left out is in OUTPUT/rejects/RULE.jsonl."""
    if not execution.explains:
        gather_rejects(output, corpus.filters.rejects)
    return manifest


@contextmanager
def _listed(parts: list[Part], output: Path, execution: Execution) -> Iterator[list[Path]]:
    """The blocks to read as files of OUTPUT/work/listing, which no other run changes; under --explain of a folder that goes again."""
    if execution.explains:
        with TemporaryDirectory() as folder:
            yield write_listing(parts, Path(folder) / "listing")
    else:
        with folder_of_ours(output):
            yield write_listing(parts, output / WORK / "listing")


def _bytes_of(corpus: Corpus, share: float) -> int:
    """Of max_bytes; 0 where the share is no limit."""
    return 0 if share >= 1 else round(share * corpus.max_bytes)


def _read_until_full(corpus: Corpus, listing: list[Path], selection: Selection, work: Path, execution: Execution) -> None:
    """Read blocks round by round, each a stage in a folder of its own, until the selection is full."""
    room, position, number = selection.room, 0, 0
    while room.left and position < len(listing):
        new = listing[position : next_round(listing, position, room, corpus.languages)]
        blocks = work / f"round-{number:03d}"
        tasks = [_reading_task(corpus, path, room.full_languages()) for path in new]
        run_stage(_reading(corpus), tasks, blocks, execution)
        for path in new:
            selection.add(blocks / f"{path.stem}.parquet")
        position, number = position + len(new), number + 1
    selection.add_unread(listing[position:])
    for stale in [] if execution.explains else sorted(work.glob("round-*"))[number:]:  # of a run with a larger limit
        shutil.rmtree(stale)


def _reading(corpus: Corpus) -> Stage:
    wanted = {"languages": sorted(corpus.languages), "licence_kinds": sorted(corpus.licence_kinds)}
    parameters = {"max_file_bytes": corpus.max_file_bytes, "samples": corpus.filters.rejects, **wanted}
    return Stage("collect: read", 3, read_block, parameters, _SUFFIXES)


def _reading_task(corpus: Corpus, path: Path, full_languages: Sequence[str] = ()) -> Task:
    inputs = (path, Path(corpus.opt_out)) if corpus.opt_out else (path,)
    return Task(path.stem, inputs, {"full": list(full_languages)}, size=sum(part.size for part in read_listing(path)))


def _collect_all(corpus: Corpus, parts: list[Part], output: Path, execution: Execution) -> Manifest:
    """Without a limit nothing is chosen: each block is a shard."""
    with _listed(parts, output, execution) as listing:
        manifest = run_stage(_reading(corpus), [_reading_task(corpus, path) for path in listing], output, execution)
        return _gathered(corpus, manifest, output, execution)
