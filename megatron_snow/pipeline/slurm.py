"""Tasks on Slurm, as one job array through submitit.

    --executor slurm --workers 64 --executor-option partition=cpu --executor-option time=4:00:00 --executor-option mem=8G

`cluster=local` runs the same code on local processes. Results come back as submitit's pickles, through a folder that
is made for the run and that nobody else may enter.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from megatron_snow.common.errors import UserError
from megatron_snow.pipeline.attempts import Attempt, attempt
from megatron_snow.pipeline.executors import Execution
from megatron_snow.pipeline.slurm_jobs import Jobs, LocalJobs, SlurmJobs, cancel

FOLDER = ".slurm"  # in the stage's folder: RUN/JOB_submitted.pkl, RUN/JOB_0_result.pkl, RUN/JOB_0_log.out
_ARRAY_SIZE = 1000  # array tasks at most; Slurm's MaxArraySize is 1001 unless a site changes it
_LOG_LINES = 15
_STOP = "stop"  # a file of that name: no job begins another of its items


def run_on_slurm(
    function: Callable[[Any], Any], items: Sequence[Any], execution: Execution, folder: Path, name: Callable[[Any], str]
) -> Iterator[tuple[Any, Any]]:
    """See `execute`. Items are dealt to at most `array_size` array tasks, of which `workers` run at a time."""
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise UserError("executor slurm: needs submitit; pip install 'megatron-snow[slurm]', or choose --executor pool") from error
    options = dict(execution.options)
    size = _array_size(options.pop("array_size", str(_ARRAY_SIZE)))
    cluster = options.pop("cluster", "slurm")
    if cluster not in ("slurm", "local"):
        raise UserError(f"--executor-option cluster={cluster}: is slurm or local")
    logs = _private_folder(folder)
    jobs: Jobs = LocalJobs(logs) if cluster == "local" else SlurmJobs(logs, execution.workers, options)
    count = min(len(items), execution.workers if cluster == "local" else size)
    chunks = [items[start::count] for start in range(count)]
    try:
        waiting = dict(zip(_submit(jobs.executor, function, chunks, logs), chunks))
        yield from _collect(waiting, jobs, logs, name)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        jobs.cancel()
        raise
    shutil.rmtree(logs, ignore_errors=True)  # the logs of jobs that failed stay
    with suppress(OSError):
        logs.parent.rmdir()


def run_items(function: Callable[[Any], Any], items: Sequence[Any], logs: Path) -> list[Attempt]:
    """What a job does: its items one after another, until one fails or one of another job has."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # submitit ignores it, and scancel would wait for its SIGKILL
    attempts: list[Attempt] = []
    for item in items:
        if (logs / _STOP).exists() or (attempts and attempts[-1].error is not None):
            break
        attempts.append(attempt(function, item))
    return attempts


def end_leftovers(folder: Path) -> None:
    """Cancel the jobs of runs that were killed: they would go on writing into the folder."""
    for logs in sorted((folder / FOLDER).glob("snow-*")):
        cancel(logs.name)
        shutil.rmtree(logs, ignore_errors=True)


def _submit(executor: Any, function: Callable[[Any], Any], chunks: Sequence[Sequence[Any]], logs: Path) -> list[Any]:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    jobs = []
    try:
        with executor.batch():
            jobs += [executor.submit(run_items, function, chunk, logs) for chunk in chunks]
    except (FailedJobError, FailedSubmissionError, CalledProcessError) as error:
        raise UserError(f"executor slurm: sbatch refused the jobs: {str(error).strip()}; see --executor-option") from error
    return jobs


def _collect(waiting: dict[Any, Sequence[Any]], jobs: Jobs, logs: Path, name: Callable[[Any], str]) -> Iterator[tuple[Any, Any]]:
    """Results as jobs end; the first failure when those that run have ended too."""
    failure: Exception | None = None
    watch = _Watch(jobs, logs)
    while waiting:
        ended = watch.ended(list(waiting))
        for job, finished in ended:
            chunk = waiting.pop(job)
            for item, (result, error) in zip(chunk, _attempts(job) if finished else [Attempt(None, _lost(job, chunk, name))]):
                if error is None:
                    yield item, result
                elif failure is None:
                    failure = error
                    (logs / _STOP).touch()
                    jobs.cancel_waiting()
        time.sleep(jobs.pause if waiting and not ended else 0)
    if failure is not None:
        raise failure


class _Watch:
    """Which jobs have ended: those whose result is there, and those that left the queue without one."""

    def __init__(self, jobs: Jobs, logs: Path) -> None:
        self._jobs, self._logs = jobs, logs
        self._gone: dict[str, float] = {}  # job -> when it was first missing from the queue

    def ended(self, waiting: Sequence[Any]) -> list[tuple[Any, bool]]:
        """(job, whether it has a result)."""
        alive = self._jobs.alive(waiting)
        now = time.monotonic()
        for job in waiting:
            if alive is not None and job.job_id not in alive:
                self._gone.setdefault(job.job_id, now)
        os.chmod(self._logs, 0o700)  # on NFS this renews what the client knows of the folder
        results = {entry.name for entry in os.scandir(self._logs)}
        answers = [(job, job.paths.result_pickle.name in results) for job in waiting]
        return [(job, finished) for job, finished in answers if finished or self._is_lost(job.job_id, now)]

    def _is_lost(self, job: str, now: float) -> bool:
        return now - self._gone.get(job, now) > self._jobs.grace


def _attempts(job: Any) -> list[Attempt]:
    outcome, value = job._get_outcome_and_result()  # results() would ask sacct before it looks into the folder
    return value if outcome == "success" else [Attempt(None, RuntimeError(value))]  # a trace of submitit's own


def _lost(job: Any, chunk: Sequence[Any], name: Callable[[Any], str]) -> UserError:
    names = ", ".join(name(item) for item in chunk[:3]) + (f" and {len(chunk) - 3} more" if len(chunk) > 3 else "")
    log = job.paths.stdout
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if log.is_file() else ["(there is no log)"]
    return UserError("\n  ".join([
        f"executor slurm: job {job.job_id} ({names}) ended without a result: killed, out of memory or over its time; "
        f"raise mem or time by --executor-option and run the same command again. The end of {log}:", *lines
    ]))  # fmt: skip


def _private_folder(folder: Path) -> Path:
    """A new folder that only its owner may enter: what is unpickled from there can be of nobody else."""
    parent = folder / FOLDER
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = parent.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise UserError(f"{parent}: others may write or read there, and pickles are loaded from it; chmod 700 it, or delete it")
    logs = parent / f"snow-{uuid.uuid4().hex[:12]}"
    logs.mkdir(mode=0o700)
    return logs


def _array_size(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--executor-option array_size={text}: must be a whole number of at least 1")
    return int(text)
