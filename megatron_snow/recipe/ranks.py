"""torchrun as a child: its ranks get a signal first hand, so that they finish the step and save."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import FrameType

import psutil

from megatron_snow.common.processes import die_with_parent


def run_ranks(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run torchrun and return its exit code; KeyboardInterrupt, after the ranks have saved, where SIGINT or SIGTERM came.

    torchrun answers a signal by ending its ranks with exit code 1. So it is started in a session of its own,
    out of a terminal's reach, and the signal goes to the ranks.
    """
    process = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=die_with_parent)
    asked = False

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        with contextlib.suppress(psutil.NoSuchProcess):
            for member in psutil.Process(process.pid).children() or [psutil.Process(process.pid)]:
                member.terminate()

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise KeyboardInterrupt
    return code
