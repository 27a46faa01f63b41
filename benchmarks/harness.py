"""What every benchmark shares: CPU seconds and peak memory of a command or a function, the machine, dated results.

The base of every figure is CPU seconds (user and system, children included), the best of several runs: wall clock says
more about who else is on the machine. A result that was taken while the load was above _IDLE says so (`under_load`).
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from megatron_snow.common.records import write_json

RESULTS = Path(__file__).with_name("results")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "megatron_snow"
_IDLE = 0.5  # load average over a minute before a run
_PACKAGES = ("megatron-snow", "numpy", "pyarrow", "enry-python", "datasketch", "detect-secrets")


@dataclass(frozen=True)
class Usage:
    """What a run took."""

    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int  # of the largest of its processes

    def rate(self, size: int) -> float:
        """MB (10^6 bytes) a CPU second."""
        return round(size / 1e6 / self.cpu_seconds, 2)


# A process counts the memory of the one it was forked from as its own, so a small one stands between.
_LAUNCH = """
import json, resource, subprocess, sys, time
started = time.monotonic()
code = subprocess.call(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    json.dump([used.ru_utime + used.ru_stime, time.monotonic() - started, used.ru_maxrss * 1024], file)
sys.exit(code)
"""


def run(command: Sequence[str | Path]) -> Usage:
    """Run a command, its children that it waits for included; SystemExit with the end of its output where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        report, output = Path(folder, "report"), Path(folder, "output")
        with open(output, "wb") as file:
            words = [sys.executable, "-S", "-c", _LAUNCH, str(report), *map(str, command)]
            code = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT).returncode
        if code:
            sys.exit(f"{' '.join(map(str, command))}: failed ({code})\n{output.read_bytes()[-3000:].decode(errors='replace')}")
        cpu, wall, peak = json.loads(report.read_text(encoding="utf-8"))
    return Usage(round(cpu, 3), round(wall, 3), peak)


def best(function: Callable[[], Any], times: int = 5) -> float:
    """The fewest CPU seconds that a call took, of several; for what runs in this process."""
    seconds = []
    for _ in range(times):
        started = time.process_time()
        function()
        seconds.append(time.process_time() - started)
    return min(seconds)


def least(runs: Sequence[Usage]) -> Usage:
    """The run with the fewest CPU seconds."""
    return min(runs, key=lambda usage: usage.cpu_seconds)


def megatron_snow(verb: str, *options: str | Path) -> list[str | Path]:
    """The command of a verb, in this environment."""
    return [sys.executable, "-m", "megatron_snow", verb, *options]


def machine(packages: Sequence[str] = _PACKAGES) -> dict[str, Any]:
    """What a figure depends on besides the code."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    flags = "avx512" if "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8") else "no avx512"
    return {
        "cpu": f"{models[0] if models else platform.processor()} ({flags})",
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
    }


class Result:
    """Rows of one benchmark, written to results/NAME-DATE.json when `save` is called."""

    def __init__(self, name: str, folder: str = "benchmarks.corpus", packages: Sequence[str] = ()) -> None:
        """`folder`: where the benchmark's module is; `packages`: what else its figures depend on."""
        self.name, self.rows = name, list[dict[str, Any]]()
        self._module, self._packages = f"{folder}.{name}", (*_PACKAGES, *packages)
        self._load = os.getloadavg()[0]
        self._commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=RESULTS.parent).stdout

    def add(self, what: str, usage: Usage | float, size: int = 0, **facts: Any) -> None:
        """One row: what was measured, its CPU seconds, its rate where bytes were read, anything else."""
        row = asdict(usage) if isinstance(usage, Usage) else {"cpu_seconds": round(usage, 4)}
        if size:
            row |= {"bytes": size, "mb_per_cpu_second": round(size / 1e6 / row["cpu_seconds"], 2)}
        self.rows.append({"what": what, **row, **facts})
        print("  ".join(f"{key}={value}" for key, value in self.rows[-1].items()), flush=True)

    def save(self) -> Path:
        """Write what was added; a second run on the same day replaces the first."""
        date = datetime.date.today().isoformat()
        path = RESULTS / f"{self.name}-{date}.json"
        RESULTS.mkdir(exist_ok=True)
        write_json(path, {
            "benchmark": self.name, "date": date,
            "command": " ".join([f"python -m {self._module}", *(Path(word).name for word in sys.argv[1:])]),
            "commit": self._commit.strip(), "load_before": round(self._load, 2), "under_load": self._load > _IDLE,
            "machine": machine(self._packages), "rows": self.rows,
        })  # fmt: skip
        print(f"{path}{'  (under load: not for the README)' if self._load > _IDLE else ''}")
        return path
