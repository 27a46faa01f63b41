"""Where tasks run: in this process, or on a pool of processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from megatron_snow.common.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

EXECUTORS = ("inline", "pool")


def execute(function: Callable[[Item], Result], items: Iterable[Item], *, executor: str, workers: int) -> Iterator[tuple[Item, Result]]:
    """Yield (item, function(item)) as each finishes, in any order. `function` and items must pickle for 'pool'."""
    if executor == "inline" or workers <= 1:
        for item in items:
            yield item, function(item)
    elif executor == "pool":
        yield from _pool(function, items, workers)
    else:
        raise UserError(f"executor: {executor!r} is not one of {', '.join(EXECUTORS)}")


def _pool(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[tuple[Item, Result]]:
    with process_pool(workers) as pool:
        futures = {pool.submit(function, item): item for item in items}
        for future in as_completed(futures):
            yield futures[future], future.result()


@contextmanager
def process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end with this one; a killed worker is a UserError."""
    # spawn: a fork of a process with threads (pyarrow, tokenizers) can deadlock.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise UserError(
            f"a worker process was killed, most often for lack of memory; run again with fewer --workers than {workers}"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it: a pool's worker would wait for ever after its parent's SIGKILL."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
