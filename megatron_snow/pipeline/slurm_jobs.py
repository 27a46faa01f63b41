"""The jobs of one run: on Slurm, all under one name, or as submitit's local processes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from megatron_snow.common.errors import UserError

_FIRST_ASKED, _LAST_ASKED = 1.0, 15.0  # seconds between questions to squeue: doubled from the first to the last
_MINUTES = 60  # of a job, where no time is given; submitit's default is 5


class Jobs(Protocol):
    """What `slurm` needs of a cluster."""

    executor: Any  # submitit's
    pause: float  # seconds between looks at the results
    grace: float  # seconds between a job's end and its result's coming to light on a shared file system

    def alive(self, jobs: Sequence[Any]) -> set[str] | None:
        """Ids of those that wait or run; None: not asked this time."""

    def cancel(self) -> None:
        """End all of the run's jobs."""

    def cancel_waiting(self) -> None:
        """End those that have not begun."""


class SlurmJobs:
    """Jobs named like the folder of their logs, which is unique: nobody else's are ever counted or cancelled."""

    pause, grace = 1.0, 5.0

    def __init__(self, logs: Path, workers: int, options: Mapping[str, str]) -> None:
        import submitit

        if not shutil.which("sbatch") or not shutil.which("srun"):
            raise UserError("executor slurm: no sbatch on the PATH; run on a login node of the cluster, or choose --executor pool")
        given = {key: True if value == "true" else value for key, value in options.items()}
        setup = given.pop("setup", None)  # a line of shell before Python: module load ...
        self.executor = submitit.SlurmExecutor(folder=logs)
        self.executor.update_parameters(
            job_name=logs.name, time=minutes(str(given.pop("time", _MINUTES))), array_parallelism=workers, stderr_to_stdout=True,
            setup=[setup] if setup else None, use_srun=False, additional_parameters=given,
        )  # fmt: skip
        self._name = logs.name
        self._asked, self._interval = time.monotonic(), _FIRST_ASKED
        self._said = ""

    def alive(self, jobs: Sequence[Any]) -> set[str] | None:
        """By squeue: it asks the controller and needs no accounting database, as sacct does."""
        if time.monotonic() < self._asked + self._interval:
            return None
        answer = subprocess.run(
            ["squeue", "--noheader", "--array", "--name", self._name, "--format", "%i %T %r"], capture_output=True, text=True, check=False
        )
        self._asked, self._interval = time.monotonic(), min(_LAST_ASKED, 2 * self._interval)
        if answer.returncode:  # the controller is busy or restarts
            return None
        rows = [line.split(maxsplit=2) for line in answer.stdout.splitlines()]
        self._say({row[2] for row in rows if row[1] == "PENDING"}, sum(row[1] == "RUNNING" for row in rows))
        return {row[0] for row in rows}

    def _say(self, reasons: set[str], running: int) -> None:
        """Why nothing runs, when the reason is new."""
        said = ", ".join(sorted(reasons - {"None", "JobArrayTaskLimit"}))
        if said and not running and said != self._said:
            print(f"\nslurm: the jobs wait ({said})", file=sys.stderr, flush=True)
            self._said = said

    def cancel(self) -> None:
        cancel(self._name)

    def cancel_waiting(self) -> None:
        subprocess.run(["scancel", "--name", self._name, "--state", "PENDING"], check=False, capture_output=True)
        self._interval = _FIRST_ASKED


class LocalJobs:
    """submitit's local executor: each job a process of this machine, all at once."""

    pause, grace = 0.1, 0.0

    def __init__(self, logs: Path) -> None:
        import submitit

        self.executor = submitit.LocalExecutor(folder=logs)
        self.executor.update_parameters(timeout_min=60 * 24 * 30, stderr_to_stdout=True)
        self._jobs: Sequence[Any] = []

    def alive(self, jobs: Sequence[Any]) -> set[str]:
        self._jobs = jobs
        return {job.job_id for job in jobs if not job.done()}

    def cancel(self) -> None:
        for job in self._jobs:
            job.cancel()
        for job in self._jobs:
            job._process.wait()  # its controller kills a task that does not end within a second

    def cancel_waiting(self) -> None:
        """None waits."""


def cancel(name: str) -> None:
    """Cancel the jobs of a run and wait until they are gone."""
    if not shutil.which("scancel"):
        return
    subprocess.run(["scancel", "--name", name], check=False, capture_output=True)
    deadline = time.monotonic() + 60  # Slurm's KillWait is 30 s
    while time.monotonic() < deadline:
        answer = subprocess.run(["squeue", "--noheader", "--name", name, "--format", "%i"], capture_output=True, text=True, check=False)
        if not answer.returncode and not answer.stdout.strip():
            return
        time.sleep(0.5)


def minutes(text: str) -> int:
    """Minutes of a time as sbatch takes it: MIN, MIN:SEC, H:MIN:SEC, DAYS-H, DAYS-H:MIN, DAYS-H:MIN:SEC; seconds count as a minute."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if match is None:
        raise UserError(f"--executor-option time={text}: give minutes, H:MM:SS or DAYS-H:MM:SS")
    days, *parts = match.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is None and len(numbers) < 3:
        numbers = [0, *numbers]  # the first is minutes, not hours
    hours, whole, seconds = (*numbers, 0, 0)[:3]
    return max(1, int(days or 0) * 1440 + hours * 60 + whole + (seconds > 0))
