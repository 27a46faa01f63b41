"""One process at a time for a folder: two would write into each other's files."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from megatron_snow.common.errors import UserError


class FolderLock:
    """Held from `acquire` to `release`, or in a `with` block. The kernel lets go of it when the process dies."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f".{name}.lock"
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """UserError that names the process which holds the folder."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._path, "a+", encoding="utf-8")  # noqa: SIM115 held until release()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            raise UserError(
                f"{self._path.parent}: another run (process {holder}) writes into this folder; end it, or give another --output"
            ) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        """Let the next one in."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()
