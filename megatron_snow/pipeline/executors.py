"""Where tasks run: in this process, on a pool of processes, on Slurm, on Ray. The results are the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from megatron_snow.common.errors import UserError
from megatron_snow.common.explain import is_explaining
from megatron_snow.common.processes import interrupts_deferred
from megatron_snow.pipeline.attempts import attempt

Item = TypeVar("Item")
Result = TypeVar("Result")

EXECUTORS = ("inline", "pool", "slurm", "ray")


@dataclass(frozen=True)
class Execution:
    """Where and how wide tasks run. No key depends on it, so neither does what comes out."""

    executor: str = "inline"
    workers: int = 1  # processes of a pool, array tasks at a time on Slurm, tasks at a time on Ray
    options: Mapping[str, str] = field(default_factory=dict)  # of Slurm (partition, account, time, ...) or Ray (address, ...)
    explain: bool = False  # say why tasks would run, and run nothing

    @property
    def explains(self) -> bool:
        """Whether nothing may run or be written: by `explain`, or within `explaining()`."""
        return self.explain or is_explaining()


INLINE = Execution()


def execute(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    execution: Execution,
    folder: Path,
    name: Callable[[Item], str] = str,
) -> Iterator[tuple[Item, Result]]:
    """Yield (item, function(item)) as each finishes, in any order.

    `function` and items must pickle; logs go below `folder`; `name` is what messages call an item. After
    an exception of the function no item is begun any more, those that run are let finish and yielded,
    then it is raised as itself. UserError where a worker or a node is lost for good.
    """
    check_executor(execution)
    if not items:
        return
    if execution.executor == "slurm":
        from megatron_snow.pipeline.slurm import run_on_slurm

        yield from run_on_slurm(function, items, execution, folder, name)
    elif execution.executor == "ray":
        from megatron_snow.pipeline.ray_cluster import run_on_ray

        yield from run_on_ray(function, items, execution, name)
    elif execution.executor == "pool" and min(execution.workers, len(items)) > 1:
        yield from _pool(function, items, execution.workers)
    else:
        for item in items:
            yield item, function(item)


def check_executor(execution: Execution) -> None:
    """UserError for an executor that is not there."""
    if execution.executor not in EXECUTORS:
        raise UserError(f"executor: {execution.executor!r} is not one of {', '.join(EXECUTORS)}")


def _pool(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[tuple[Item, Result]]:
    failure: Exception | None = None
    with process_pool(min(workers, len(items))) as pool:
        futures = {pool.submit(attempt, function, item): item for item in items}
        for future in as_completed(futures):
            if future.cancelled():
                continue
            result, error = future.result()
            if error is None:
                yield futures[future], result
            elif failure is None:
                failure = error
                for other in futures:
                    other.cancel()  # what has begun is not cancelled by this
    if failure is not None:
        raise failure


@contextmanager
def process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end with this one, and at once on an interrupt; a killed worker is a UserError."""
    # spawn: a fork of a process with threads (pyarrow, tokenizers) can deadlock.
    before = multiprocessing.active_children()
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        with interrupts_deferred():  # a worker whose start is cut in two complains with a traceback
            pool.submit(int)  # starts them all
        yield pool
    except BrokenProcessPool as error:
        raise UserError(
            f"a worker process was killed, most often for lack of memory; run again with fewer --workers than {workers}"
        ) from error
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        for process in multiprocessing.active_children():
            if process not in before:
                process.kill()  # a task can take minutes to end by itself, and what it has not committed does not count
        raise
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
