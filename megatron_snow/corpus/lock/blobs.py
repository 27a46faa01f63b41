"""Files of other commits: what a checkout's git holds by the blob's SHA-1, which is what a SWHID of a file's content is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from megatron_snow.common.checksums import bytes_digest
from megatron_snow.corpus.lock.finding import write_finds
from megatron_snow.corpus.lock.wanted import wanted_of
from megatron_snow.corpus.sources import RawFile
from megatron_snow.corpus.sources.git import run_git

_CONTENT = re.compile(r"swh:1:cnt:([0-9a-f]{40})")  # no other name that git knows, as it answers by the blob's own
_BATCH_BYTES = 64_000_000  # of blobs that git gives at a time


def repositories_in(root: Path) -> list[Path]:
    """Checkouts and bare mirrors: the folder itself or its sub-folders."""
    return [path for path in (root, *sorted(root.iterdir())) if path.is_dir() and _is_repository(path)]


def _is_repository(path: Path) -> bool:
    return (path / ".git").exists() or ((path / "objects").is_dir() and (path / "HEAD").is_file())


def state_of(repository: Path) -> str:
    """A digest of what is there: its references and packs, as any fetch changes one of them. "" where git cannot read it."""
    try:
        folder = os.fsdecode(run_git(repository, "rev-parse", "--absolute-git-dir").strip())
    except (OSError, subprocess.SubprocessError) as error:
        print(f"note: {repository}: git cannot be asked for other commits ({error})", file=sys.stderr)
        return ""
    packs = sorted(path.name for path in Path(folder, "objects").glob("*/*") if path.suffix in ("", ".pack"))
    return bytes_digest("\n".join(packs).encode("utf-8", "surrogateescape") + run_git(repository, "for-each-ref"))


def find_in_git(inputs: Sequence[Path], prefix: Path, parameters: Mapping[str, Any]) -> Mapping[str, int]:
    """Task: rows that no file has (inputs: their numbers, the lock) from the blobs of the repository in `parameters`."""
    rows = pq.read_table(inputs[0])["row"].to_pylist()
    wanted, repository = wanted_of(inputs[1]), Path(parameters["repository"])
    blobs = {}
    for row in rows:
        facts = wanted.facts(row)
        if name := _CONTENT.fullmatch(facts["swhid"]):
            blobs[name[1]] = facts
    return write_finds(_read(repository, blobs, parameters["max_file_bytes"]), inputs[1], prefix)


def _read(repository: Path, blobs: Mapping[str, Mapping[str, Any]], max_bytes: int) -> Iterator[RawFile]:
    asked = "".join(f"{name}\n" for name in blobs).encode()
    there = [line.split() for line in run_git(repository, "cat-file", "--batch-check", given=asked).splitlines()]
    sizes = [(name.decode(), int(size)) for name, kind, size in (line for line in there if len(line) == 3) if kind == b"blob"]
    for batch in _batches([(name, size) for name, size in sizes if size <= max_bytes]):
        answer = run_git(repository, "cat-file", "--batch", given="".join(f"{name}\n" for name, _ in batch).encode())
        position = 0
        for name, size in batch:
            start = answer.index(b"\n", position) + 1
            position = start + size + 1  # a line feed ends each
            facts = blobs[name]
            yield RawFile(facts["repository"], facts["path"], f"{repository}@{name}", answer[start : start + size], size=size)


def _batches(sizes: Sequence[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    batch: list[tuple[str, int]] = []
    for item in sizes:
        if batch and sum(size for _, size in batch) + item[1] > _BATCH_BYTES:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
