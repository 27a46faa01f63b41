"""Tasks on Ray: on the cluster of the option `address` or of RAY_ADDRESS, else on one of this machine's own.

--executor ray --workers 64 --executor-option address=head:6379
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from megatron_snow.common.errors import UserError, nearest
from megatron_snow.pipeline.attempts import attempt
from megatron_snow.pipeline.executors import Execution

_OPTIONS = {"address": "", "num_cpus": "1", "memory": "0", "max_retries": "3"}  # of a task; memory in bytes, 0: not asked for


def run_on_ray(
    function: Callable[[Any], Any], items: Sequence[Any], execution: Execution, name: Callable[[Any], str]
) -> Iterator[tuple[Any, Any]]:
    """See `execute`. A task whose node dies runs again on another, `max_retries` times."""
    options = _options_of(execution.options)
    ray = _connected(options["address"], execution.workers)
    task = ray.remote(attempt).options(
        num_cpus=float(options["num_cpus"]), memory=int(options["memory"]) or None, max_retries=int(options["max_retries"])
    )
    shared = ray.put(function)
    waiting, running = list(reversed(items)), dict[Any, Any]()
    failure: Exception | None = None
    try:
        while running or (waiting and failure is None):
            while waiting and failure is None and len(running) < execution.workers:
                running |= {task.remote(shared, waiting[-1]): waiting.pop()}
            # a second at most: an interrupt is seen between two waits
            for ended in ray.wait(list(running), num_returns=1, timeout=1.0)[0]:
                item = running.pop(ended)
                result, error = _outcome(ray, ended, name(item))
                if error is None:
                    yield item, result
                failure = failure or error
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        for reference in running:
            ray.cancel(reference, force=True)
        raise
    if failure is not None:
        raise failure


def _outcome(ray: Any, reference: Any, name: str) -> tuple[Any, Exception | None]:
    try:
        result, error = ray.get(reference)
    except ray.exceptions.OutOfMemoryError:
        return None, UserError(f"executor ray: {name} ran out of memory; run again with fewer --workers, or --executor-option memory=BYTES")
    except ray.exceptions.RayError as lost:
        reason = str(lost).splitlines()[0] if str(lost) else type(lost).__name__
        return None, UserError(
            f"executor ray: {name} was lost with its worker or node, after retries ({reason}); run the same command again"
        )
    return result, error


def _options_of(given: Mapping[str, str]) -> dict[str, str]:
    for key, value in given.items():
        if key not in _OPTIONS:
            raise UserError(f"--executor-option {key}: Ray takes {', '.join(_OPTIONS)}{nearest(key, _OPTIONS)}")
        if key != "address" and not value.replace(".", "", key == "num_cpus").isdecimal():
            raise UserError(f"--executor-option {key}={value}: must be a number")
    return {**_OPTIONS, **given}


def _connected(address: str, workers: int) -> Any:
    """Ray, connected; a cluster of our own is shut down when this process ends."""
    try:
        import ray
    except ImportError as error:
        raise UserError("executor ray: needs ray; pip install 'megatron-snow[ray]', or choose --executor pool") from error
    if ray.is_initialized():
        return ray
    os.environ.setdefault("RAY_task_oom_retries", "3")  # Ray's default is for ever
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # leave CUDA_VISIBLE_DEVICES as it is (what Ray will do)
    address = address or os.environ.get("RAY_ADDRESS", "") or "local"
    _probe(address)
    own: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
    try:
        with _signals_kept():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"executor ray: no cluster at {address} ({str(error).splitlines()[0]}); `ray start --head` starts one") from error
    return ray


def _probe(address: str) -> None:
    """UserError where nobody listens: ray.init would try for minutes, out of reach of Ctrl-C."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:  # auto, local, ray://...: Ray's own
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise UserError(f"executor ray: no cluster at {address} ({error}); `ray start --head` starts one") from error


class _signals_kept:
    """ray.init puts an exit of its own (code 15) in the place of our handler of SIGTERM."""

    def __enter__(self) -> None:
        self._main = threading.current_thread() is threading.main_thread()
        self._before = signal.getsignal(signal.SIGTERM)

    def __exit__(self, *exception: object) -> None:
        if self._main:
            signal.signal(signal.SIGTERM, self._before)
