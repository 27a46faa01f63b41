"""How much memory a step takes, its child processes with it."""

from __future__ import annotations

import contextlib
import threading

import psutil

_INTERVAL_SECONDS = 0.5


class MemoryMeter:
    """Samples the resident memory of this process and its descendants; shared pages count once for each (an upper bound)."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryMeter:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while True:
            self.peak_bytes = max(self.peak_bytes, _resident(own))
            if self._stop.wait(_INTERVAL_SECONDS):
                return


def _resident(process: psutil.Process) -> int:
    total = 0
    for member in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += member.memory_info().rss
    return total
