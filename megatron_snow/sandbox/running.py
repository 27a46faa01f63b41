"""Run source text that nobody trusts, in processes of its own that can reach nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from megatron_snow.common.errors import UserError
from megatron_snow.sandbox.seccomp import build_filter, supported

MEMORY_BYTES = 1 << 30  # of a process's address space and of all processes' resident memory together
SCRATCH_BYTES = 64 << 20  # of /tmp, the one place that can be written
PROCESSES = 16
_GRACE_SECONDS = 10.0  # for setting up and taking down on a loaded machine, beyond the solution's own time
_LAUNCHER = Path(__file__).with_name("launcher.py")

# What the solution sees in place of our environment. One thread a process: the number of processes bounds threads too.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
_ENVIRONMENT |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class SandboxUnavailable(UserError):
    """The machine does not allow the sandbox; nothing was run."""


@dataclass(frozen=True)
class Outcome:
    """passed: ran to its last line; failed: an error or an early exit; timeout: wall or CPU time; killed: memory or a signal."""

    status: Literal["passed", "failed", "timeout", "killed"]
    detail: str  # the error, or the limit that was broken; at most 2,000 bytes
    seconds: float  # of the source itself, without the start of the sandbox


def available() -> tuple[bool, str]:
    """(True, "") when the sandbox really works here, else (False, why not and the remedy). Takes 50 ms."""
    try:
        outcome = run_python("assert __import__('os').listdir('/tmp') == []", timeout_seconds=10.0)
    except SandboxUnavailable as error:
        return False, str(error)
    return outcome.status == "passed", outcome.detail


def run_python(source: str, *, timeout_seconds: float, memory_bytes: int = MEMORY_BYTES) -> Outcome:
    """Run `source` as a script: no network, no files but Python's own (read-only) and an empty /tmp that goes with it.

    What it prints is dropped. The verdict "passed" protects no one from a solution that sets out to forge it: the
    sandbox protects the machine. SandboxUnavailable when the machine does not allow it; then nothing was run.
    """
    settings = _settings(timeout_seconds, memory_bytes)
    command = [sys.executable, "-S", "-s", "-B", str(_LAUNCHER), json.dumps(settings)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_ENVIRONMENT, cwd="/", start_new_session=True
    ) as process:
        try:
            output, errors = process.communicate(source.encode("utf-8", "replace"), timeout=timeout_seconds + _GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return Outcome("timeout", "the sandbox did not end in time", timeout_seconds)
        finally:
            process.kill()  # the whole tree inside dies with the supervisor
    if not output:
        raise SandboxUnavailable(
            f"sandbox: its supervisor ended with {process.returncode}: {errors.decode(errors='replace')[-500:].strip()}"
        )
    outcome = json.loads(output)
    if outcome["status"] == "unavailable":
        raise SandboxUnavailable(f"sandbox: {outcome['detail']}; {_remedy()}")
    return Outcome(**outcome)


def run_many(sources: Iterable[str], *, timeout_seconds: float, memory_bytes: int = MEMORY_BYTES, workers: int = 2) -> Iterator[Outcome]:
    """`run_python` of each source, `workers` at a time; outcomes in the order of the sources."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        try:
            yield from pool.map(partial(run_python, timeout_seconds=timeout_seconds, memory_bytes=memory_bytes), sources)
        finally:
            pool.shutdown(cancel_futures=True)


def _settings(timeout_seconds: float, memory_bytes: int) -> dict[str, object]:
    if not sys.platform.startswith("linux") or not supported():
        raise SandboxUnavailable(
            "sandbox: needs Linux on x86_64 or aarch64 (user namespaces, seccomp); run the evaluation on such a machine"
        )
    paths = sysconfig.get_paths()
    search = list(dict.fromkeys((paths["purelib"], paths["platlib"])))
    return {
        "timeout_seconds": timeout_seconds,
        "memory_bytes": memory_bytes,
        "scratch_bytes": SCRATCH_BYTES,
        "processes": PROCESSES,
        "filter": build_filter().hex(),
        "folders": [sys.base_prefix, sys.prefix, *search],
        "search": search,
    }


def _remedy() -> str:
    """What to change, read from the switches that usually forbid it."""
    switches = {
        "/proc/sys/kernel/unprivileged_userns_clone": ("0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        "/proc/sys/user/max_user_namespaces": ("0", "sysctl -w user.max_user_namespaces=10000"),
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": ("1", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
    }
    for path, (closed, command) in switches.items():
        if Path(path).is_file() and Path(path).read_text().strip() == closed:
            return f"unprivileged user namespaces are switched off: `{command}`"
    return "user namespaces must be allowed; in a container start it with --security-opt seccomp=unconfined --cap-add SYS_ADMIN"
