"""Each checkpoint copied to another place while training goes on (recipe key training.checkpoint_copy)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from megatron_snow.checkpoint import CheckpointStore
from megatron_snow.checkpoint.copying import copy_checkpoint
from megatron_snow.common.progress import say
from megatron_snow.config import Training
from megatron_snow.training.loop import Callback


class CheckpointCopier(Callback):
    """Copies what is committed, one at a time, oldest first, in a thread of the main rank; the end of the run waits for the last.

    A failure is told on stderr and tried again after the next save and at the next start; training goes on.
    """

    def __init__(self, store: CheckpointStore, training: Training) -> None:
        self._store, self._url = store, training.checkpoint_copy
        self._thread = ThreadPoolExecutor(1, "checkpoint-copy")
        self._lock = Lock()
        self._waiting: set[int] = set()
        self._copied: set[int] = set()
        self.look()  # what an earlier run did not get done

    def look(self) -> None:
        """Copy what was committed since; the saver tells of each."""
        for step in self._store.steps():
            with self._lock:
                if step in self._waiting | self._copied:
                    continue
                self._waiting.add(step)
            self._thread.submit(self._copy, self._store.folder(step), step)

    def steps_in_use(self) -> set[int]:
        """Steps whose checkpoints are being copied, or wait for it: retention leaves them."""
        with self._lock:
            return set(self._waiting)

    def close(self) -> None:
        """Wait for the copies of all that was saved."""
        self.look()
        if waiting := self.steps_in_use():
            print(f"copying checkpoints of steps {', '.join(map(str, sorted(waiting)))} to {self._url}", flush=True)
        self._thread.shutdown(wait=True)

    def _copy(self, folder: Path, step: int) -> None:
        try:
            copy_checkpoint(folder, self._url)
            with self._lock:
                self._copied.add(step)
        except Exception as error:  # whatever a file system raises: a copy is worth less than the run
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            say(f"WARNING: {folder} was not copied to {self._url}: {reason}; training goes on", error=True)
        finally:
            with self._lock:
                self._waiting.discard(step)
