"""Child processes that do not outlive who started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec nothing may be


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the parent is gone (Linux; elsewhere nothing happens)."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went while we asked
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def interrupted_by_sigterm(*also: int) -> Iterator[None]:
    """SIGTERM within is a KeyboardInterrupt, so that jobs and workers are ended as Ctrl-C ends them (Slurm and `kill` send it).

    `also`: further signals that are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, *also)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """SIGINT and SIGTERM within come when the block ends: for what must not be cut in two."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
