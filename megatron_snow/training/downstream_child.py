"""The commands of one evaluation, one after another in the background of training; nothing here waits for them."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from megatron_snow.config import Downstream

# torchrun's: a command that found them would try to join the training processes.
_OF_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_OF_TORCHRUN_PREFIXES = ("GROUP_", "ROLE_", "TORCHELASTIC_")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


def fill_in(commands: Sequence[str], places: Mapping[str, object]) -> list[list[str]]:
    """Templates as words, with {name} replaced inside of each word: a path with a space stays one."""
    return [[word.format_map(dict(places)) for word in shlex.split(command)] for command in commands]


def environment_of(settings: Downstream) -> dict[str, str]:
    """The environment of the commands: few threads, no GPU but the one that the recipe names, nothing of torchrun."""
    kept = {name: value for name, value in os.environ.items() if name not in _OF_TORCHRUN and not name.startswith(_OF_TORCHRUN_PREFIXES)}
    return kept | dict.fromkeys(_THREADS, str(settings.threads)) | {"CUDA_VISIBLE_DEVICES": settings.device}


class Child:
    """Commands under way. Each is the leader of a process group of its own, and dies with us (common/background.py)."""

    def __init__(self, commands: Sequence[Sequence[str]], log: Path, environment: Mapping[str, str]) -> None:
        """Start the first; OSError where that cannot be. What they print goes to the end of `log`."""
        self._left, self._log, self._environment = deque(commands), log, environment
        self._start = time.monotonic()
        self._process = self._begin()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start

    def poll(self) -> int | None:
        """None while they run, then the exit code: 0, or that of the first which failed."""
        code = self._process.poll()
        if code == 0 and self._left:
            try:
                self._process = self._begin()
            except OSError:
                return 1
            return None
        return code

    def kill(self) -> None:
        """End the command and all that it started in its group."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _begin(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "megatron_snow.common.background", str(os.getpid()), *self._left.popleft()]
        with open(self._log, "ab") as log:
            return subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
