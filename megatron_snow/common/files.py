"""Files that appear whole or not at all: write beside, fsync, rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

# The ending of what is being written: never read; stages and run_recipe remove what a kill left.
PARTIAL = ".partial"


def beside(path: Path, suffix: str) -> Path:
    """`path` with `suffix` appended to its name (`with_suffix` would cut names that hold a dot)."""
    return path.with_name(path.name + suffix)


def fsync(path: Path) -> None:
    """Force a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def commit(temporary: Path, final: Path) -> None:
    """Give a written file its final name, durably."""
    fsync(temporary)
    os.replace(temporary, final)
    fsync(final.parent)


def commit_all(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Give written files of one folder their final names, durably, in this order; the last is there only with all before it."""
    with ThreadPoolExecutor(
        len(pairs)
    ) as threads:  # side by side they share a write of the file system's journal, 5 ms each on the disk of a virtual machine
        list(threads.map(fsync, [temporary for temporary, _ in pairs]))
    for temporary, final in pairs:
        os.replace(temporary, final)
    fsync(pairs[-1][1].parent)  # a journal keeps the order of renames


@contextmanager
def atomic_file(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file for writing that takes the name `path` only when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(path, f".{os.getpid()}{PARTIAL}")
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
        commit(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a write that finds no room does not say where
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that takes the name `path`, replacing what was there, when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = beside(path, f".{os.getpid()}{PARTIAL}"), beside(path, f".old{PARTIAL}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            fsync(file)
        fsync(temporary)
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
        fsync(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
