"""One process at a time for a folder: two would write into each other's files.

flock holds between the hosts of NFS (v4, or v3 with lockd), GPFS and Lustre mounted with `flock`; where a file system has
no locks (or keeps them to each host: Lustre's `localflock`, NFS's `local_lock`) taking turns is up to the user.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from megatron_snow.common.errors import UserError

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # the file system has none: go on without


def lock_file(file: IO[str], operation: int) -> None:
    """flock; BlockingIOError where LOCK_NB was asked for and another has it."""
    try:
        fcntl.flock(file, operation)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


class FolderLock:
    """Held from `acquire` to `release`, or in a `with` block. The kernel lets go of it when the process dies."""

    def __init__(self, folder: Path, name: str, *, leave: bool = True) -> None:
        self._path = folder / f".{name}.lock"
        self._leave = leave  # whether the file stays when the lock is released
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """UserError that names the process which holds the folder."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._path, "a+", encoding="utf-8")  # noqa: SIM115 held until release()
        try:
            lock_file(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise UserError(
                f"{self._path.parent}: another run (process {holder}) writes into this folder; end it, or give another --output"
            ) from None
        if not self._is_current():  # its holder removed it between our opening and locking it
            self._file.close()
            self.acquire()
            return
        self._file.truncate(0)
        self._file.write(f"{os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()

    def release(self) -> None:
        """Let the next one in."""
        if self._file is not None:
            if not self._leave:
                self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def _is_current(self) -> bool:
        assert self._file is not None
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()
